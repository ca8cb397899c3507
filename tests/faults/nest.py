"""``python -m tests.faults.nest PROGRAM``: one of the two programs, imported once and forked for every command.

    {"arguments", "stdout", "stderr"} ──► number of a process
                                 "go" ──► that process does what ``python -m PROGRAM`` does after its imports
                                      ──► its exit code (-9: killed)

Orders are lines on standard input, answers on standard output. Nothing has been computed before the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback


def serve(program: str) -> None:
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    main = importlib.import_module(f"{program}.__main__")
    if program == "trainer":
        from trainer import tasks
        from trainer.device import describe

        describe()
        for name in tasks.names():
            tasks.load(name)
        for module in ("api", "training.loop", "evaluation.proposals", "evaluation.class_counts", "reporting.curves"):
            importlib.import_module(f"trainer.{module}")
    else:
        from data_server import commands
        from shared import modules

        for name in modules.names(commands):
            main._command(name.replace("_", "-"))
    print("ready", file=answers, flush=True)
    for line in orders:
        order = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            orders.close()
            answers.close()
            os.close(writer)
            if os.read(reader, 1):
                carry_out(main, order)
            os._exit(1)
        os.close(reader)
        print(child, file=answers, flush=True)
        os.write(writer, orders.readline().encode()[:1])
        os.close(writer)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def carry_out(main, order: dict) -> None:
    """In the child: the command, to the end of the process."""
    os.setsid()
    for number, file in ((1, order["stdout"]), (2, order["stderr"])):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        code = main.main(order["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
