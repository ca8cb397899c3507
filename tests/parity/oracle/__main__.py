"""The oracle's side of the pipe: ``python -m tests.parity.oracle``, messages on standard input and output."""

import os
import sys
import traceback

from benchmarks.networks.mmcv_operators import stand_in
from tests.parity.oracle.process import receive, send


def main() -> None:
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up in the pipe
    stand_in()
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
