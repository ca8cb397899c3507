"""The oracle's side of the pipe: ``python -m tests.parity.oracle``, messages on standard input and output."""

import importlib.util
import os
import sys
import traceback
import types

from tests.parity.oracle.process import receive, send


class Uncompiled(types.ModuleType):
    """Stands where mmcv's compiled operators are missing: mmdet's modules import them by name, few call them."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise RuntimeError(f"mmcv has no compiled operator {name}")

        return missing


def main() -> None:
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up in the pipe
    if importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")
    from tests.parity.oracle import answers as functions

    while True:
        try:
            name, arguments = receive(questions)
        except EOFError:
            return
        try:
            answer = {"answer": getattr(functions, name)(**arguments)}
        except Exception:
            answer = {"failure": traceback.format_exc()}
        send(answers, answer)


if __name__ == "__main__":
    main()
