"""What both command lines have in common: exit codes, options that have been renamed, and what both warn of."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from shared.terminal import write_line

GOOD = 0
FAILED = 1  # something broke: a process died, a stream failed, the machine lacks something
USER_ERROR = 2  # the command line, a config or a file is not what was expected; argparse's code as well
FINDINGS = 3  # a check ran to its end and found faults


def warn_of_encoding() -> None:
    """Prints a line where file names are not written as UTF-8: those that annotation files and configs name are."""
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        write_line(
            f"warning: file names are written in {encoding} here, so files with other letters in their names are not "
            "found; set PYTHONUTF8=1, or a locale such as LC_ALL=C.UTF-8"
        )


def add_renamed(parser: argparse._ActionsContainer, old: str, new: argparse.Action) -> None:
    """Lets an option be given by its old name as well, which prints one line of notice to standard error.

    The old name is not shown in the help text.

    Args:
        parser: the parser, or its group, that has `new`.
        old: the former name, with its dashes.
        new: the option, as ``add_argument`` returned it.
    """
    name = new.option_strings[-1]

    class OldName(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: str | Sequence[Any] | None,
            _: str | None = None,
        ) -> None:
            write_line(f"notice: {old} is now {name}; the old name will go with the next version")
            new(parser, namespace, values, name)

    parser.add_argument(
        old,
        action=OldName,
        dest=new.dest,
        nargs=new.nargs,
        type=new.type or str,
        choices=new.choices,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
