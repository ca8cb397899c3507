"""Pickles from elsewhere, read without executing anything of theirs.

A pickle is a program for a small machine; all the power it has are the functions and classes that it names. Here a name
means only what the reader's table says, and every other name is refused. Two readers have such a table:
the trainer's of PyTorch's weights (`trainer.weights.formats.pickled`), the data server's of proposals
(`data_server.files.proposal_list`).
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, TypeVar

from shared.errors import UserError, described


class Call:
    """Something that a pickle may call, and do nothing else with."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function is given a state")


class Unpickler(pickle.Unpickler):
    """Knows the names in `ALLOWED`, (module, name) -> what it means; refuses the others.

    Attributes:
        ALLOWED: values must be harmless, and not be changed by what a pickle can do to them: immutable, or fresh
            objects at every call, or `Call`.
        REFUSAL: what the message says after the refused name.
    """

    ALLOWED: ClassVar[dict[tuple[str, str], Any]]
    REFUSAL: ClassVar[str]

    def __init__(self, file: BinaryIO, where: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise UserError(f"{self._where}: its pickle asks for {module}.{name}, {self.REFUSAL}")
        return self.ALLOWED[module, name]


Kind = TypeVar("Kind", bound=Unpickler)


def load(file: BinaryIO, where: str, unpickler: type[Kind]) -> tuple[Any, Kind]:
    """The object that the pickle at the file's position describes; leaves the file behind the pickle.

    Args:
        file: seekable.
        where: names the file in messages.

    Returns:
        the object, and the unpickler that made it.

    Raises:
        UserError: the pickle is damaged, or names something that is not in the unpickler's table.
    """
    start = file.tell()
    try:
        slots = [
            int(argument)
            for code, argument, _ in pickletools.genops(file)
            if code.name.endswith("PUT") and argument is not None
        ]
        length = file.tell() - start
        file.seek(start)
        # The machine reserves memory up to the highest slot that is named; an honest pickle has fewer than bytes.
        if max(slots, default=0) > length:
            raise pickle.UnpicklingError(f"memory slot {max(slots)} in a pickle of {length} bytes")
        machine = unpickler(io.BytesIO(file.read(length)), where)
        return machine.load(), machine
    except UserError:
        raise
    except Exception as error:  # of any type, as a pickle may do anything wrong
        raise UserError(f"{where}: its pickle is damaged ({described(error)}); fetch or save the file again") from error
