"""Python imports this by itself at start-up when its folder is on PYTHONPATH: in ``python -m data_server``, and in none
of its children, every unpickling is written to the file that AUDIT_FILE names."""

import os
import sys

if "data_server" in sys.orig_argv:
    _file = os.open(os.environ["AUDIT_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _hook(event: str, arguments: tuple) -> None:
        if event == "pickle.find_class":
            os.write(_file, f"{os.getpid()} {arguments}\n".encode())

    sys.addaudithook(_hook)
    import pickle

    pickle.loads(b"cos\ngetpid\n.")  # the proof that the hook sees
