"""Pickles from elsewhere, read without executing anything of theirs, in work and memory linear in their size.

A pickle is a program for a small machine. Python's own machine runs what it names, hashes what it builds and reserves
what it claims; 600 bytes keep it busy for ever (a tuple of twice a tuple of twice a tuple ..., as a key). This one is
the same machine with nothing behind its names:

    a name                  means what the reader's table says: a function of ours that makes a harmless value
    any other name          `Machine.unknown` decides: refused, or a `LeftOut` that takes whatever it is given
    keys                    texts and small numbers; another key is kept by its identity, never hashed or compared
    sets                    left out
    copies                  a function that copies what it is given pays for it (`Machine.spend`)
    what is remembered      only what the pickle asks for again, which is looked up before it is run: a list of arrays
                            can be taken one by one (`Machine.new_list`), and none of them stays

Nothing nests here as calls, so depth costs nothing. Two readers have tables: the trainer's of PyTorch's weights
(`trainer.weights.formats.pickled`), the data server's of proposals (`data_server.files.proposal_list`).
"""

from __future__ import annotations

import os
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, NamedTuple, TypeVar

from shared.errors import UserError, described

_MOST_ARGUMENTS = 64
_MOST_BITS = 2040  # of a number: what fits the one length byte of LONG1
_KEY_BITS = 31  # of a number that is a key: too few to make many of one hash
_GROWTH = 16  # bytes that may be made of each byte of the file
_SPARE = 1 << 16
_SHOWN = 200  # characters of a name in a message


class Named(NamedTuple):
    """A function or class that a pickle names; nothing is looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        text = f"{self.module}.{self.name}"[:_SHOWN]
        return text if text.isprintable() else repr(text)


class LeftOut:
    """Replaces an object that the reader does not need; `what` is the name that the pickle asked for."""

    __slots__ = ("what",)

    def __init__(self, what: Named) -> None:
        self.what = what


class OddKey:
    """A key of a dict that is neither a text nor a small number."""

    __slots__ = ()


class Machine:
    """Runs one pickle.

    Attributes:
        MEANINGS: (module, name) -> a function of ours, called with the machine and what the pickle calls that name
            with. It must look at no more than its arguments' first level, or `spend`.
    """

    MEANINGS: ClassVar[dict[tuple[str, str], Callable[..., Any]]]

    def __init__(self, where: str, length: int) -> None:
        """`where` names the file in messages; `length` is the number of its bytes."""
        self.where = where
        self.length = length
        self._left = _GROWTH * length + _SPARE
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}
        self._next_slot = 0
        self.asked: set[Any] = set()  # memory slots that the pickle reads

    def meaning(self, named: Named) -> Callable[..., Any] | None:
        """What `named` means; None where the table does not have it."""
        return self.MEANINGS.get(named)

    def unknown(self, named: Named) -> LeftOut:
        """What a name outside of the table becomes. Raises UserError where the reader refuses such names."""
        return LeftOut(named)

    def persistent(self, _identity: Any, /) -> Any:
        """What the file keeps outside of the pickle."""
        raise pickle.UnpicklingError("it refers to something outside of itself")

    def new_list(self) -> list[Any]:
        """What a list of the pickle becomes; it is given its items by +=."""
        return []

    def spend(self, count: int) -> None:
        """Pays for `count` bytes or entries that are copied. Raises UnpicklingError beyond a multiple of the file."""
        self._left -= count
        if self._left < 0:
            raise pickle.UnpicklingError(f"it makes more than {_GROWTH} times its own size of what it holds")

    def call(self, called: Any, arguments: Any) -> Any:
        """What the pickle gets for calling `called`."""
        if isinstance(called, LeftOut):
            return LeftOut(called.what)
        if not isinstance(called, Named) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls what is no function")
        meaning = self.meaning(called)
        if meaning is None:
            return self.unknown(called)
        if len(arguments) > _MOST_ARGUMENTS:
            raise pickle.UnpicklingError(f"{called} is called with {len(arguments)} arguments")
        return meaning(self, *arguments)

    def run(self, file: Any) -> Any:
        """The object that the pickle at `file`'s position describes; `file` has read, readline and tell."""
        argument: Any
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in _NOTHING:
                continue
            if opcode.name in _VALUES:
                if isinstance(argument, int) and argument.bit_length() > _MOST_BITS:
                    raise pickle.UnpicklingError(f"a number of {argument.bit_length()} bits")
                self._stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name]())
            else:
                _STEPS[opcode.name](self, argument)
        return self._stack.pop()

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise pickle.UnpicklingError("it takes more than there is")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _discard(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _discard_to_mark(self, _: Any) -> None:
        self._pop_mark()

    def _double(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _text(self, text: str) -> None:
        """A text of Python 2, which may be bytes as well; it comes as latin-1."""
        content = text.encode("latin-1")
        try:
            self._stack.append(content.decode())
        except UnicodeDecodeError:
            self._stack.append(content)

    def _put(self, slot: int) -> None:
        if slot > self.length:  # an honest pickle has fewer than bytes
            raise pickle.UnpicklingError(f"memory slot {slot} in a pickle of {self.length} bytes")
        value = self._stack[-1]
        self._next_slot = max(self._next_slot, slot + 1)
        if slot in self.asked:
            self._memo[slot] = value

    def _memoize(self, _: Any) -> None:
        self._put(self._next_slot)

    def _get(self, slot: int) -> None:
        self._stack.append(self._memo[slot])

    def _tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _tuple_1(self, _: Any) -> None:
        self._stack.append(tuple(self._pop(1)))

    def _tuple_2(self, _: Any) -> None:
        self._stack.append(tuple(self._pop(2)))

    def _tuple_3(self, _: Any) -> None:
        self._stack.append(tuple(self._pop(3)))

    def _list(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(self.new_list())
        self._extend(items)

    def _empty_list(self, _: Any) -> None:
        self._stack.append(self.new_list())

    def _dict(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append({})
        self._set(items)

    def _frozen_set(self, _: Any) -> None:
        self._pop_mark()
        self._stack.append(_set())

    def _append(self, _: Any) -> None:
        self._extend(self._pop(1))

    def _appends(self, _: Any) -> None:
        self._extend(self._pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target += items
        elif not isinstance(target, LeftOut):
            raise pickle.UnpicklingError(f"it appends to a {type(target).__name__}")

    def _add_items(self, _: Any) -> None:
        self._pop_mark()
        if not isinstance(self._stack[-1], LeftOut):
            raise pickle.UnpicklingError("it adds to what is no set")

    def _set_item(self, _: Any) -> None:
        self._set(self._pop(2))

    def _set_items(self, _: Any) -> None:
        self._set(self._pop_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[key_of(key)] = value
        elif not isinstance(target, LeftOut):
            raise pickle.UnpicklingError(f"it sets items of a {type(target).__name__}")

    def _build(self, _: Any) -> None:
        (state,) = self._pop(1)
        target = self._stack[-1]
        if isinstance(target, LeftOut):
            return
        if not hasattr(target, "__setstate__"):
            raise pickle.UnpicklingError(f"a {type(target).__name__} is given a state")
        target.__setstate__(state)

    def _name(self, text: str) -> None:
        module, name = text.split(" ", 1)
        self._push_name(module, name)

    def _stacked_name(self, _: Any) -> None:
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a name that is no text")
        self._push_name(module, name)

    def _push_name(self, module: str, name: str) -> None:
        named = Named(module, name)
        if self.meaning(named) is None:
            self.unknown(named)  # a reader that refuses it does so now, not only when it is called
        self._stack.append(named)

    def _reduce(self, _: Any) -> None:
        self._stack.append(self.call(*self._pop(2)))

    def _new_with_keywords(self, _: Any) -> None:
        called, arguments, _keywords = self._pop(3)
        if isinstance(called, Named) and self.meaning(called) is not None:
            raise pickle.UnpicklingError(f"{called} is called with keywords")
        self._stack.append(self.call(called, arguments))

    def _instance(self, text: str) -> None:
        module, name = text.split(" ", 1)
        arguments = tuple(self._pop_mark())
        self._push_name(module, name)
        self._stack.append(self.call(self._stack.pop(), arguments))

    def _object(self, _: Any) -> None:
        called, *arguments = self._pop_mark()
        self._stack.append(self.call(called, tuple(arguments)))

    def _persistent(self, _: Any) -> None:
        self._stack.append(self.persistent(self._stack.pop()))

    def _persistent_text(self, text: str) -> None:
        self._stack.append(self.persistent(text))


def _set() -> LeftOut:
    return LeftOut(Named("builtins", "set"))


_GETS = ("GET", "BINGET", "LONG_BINGET")
_NOTHING = {"PROTO", "FRAME", "STOP"}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": _set,
}
# Without those of extension registries and of buffers outside of the file, which no file here has.
_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": Machine._mark,
    "POP": Machine._discard,
    "POP_MARK": Machine._discard_to_mark,
    "DUP": Machine._double,
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), Machine._text),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine._put),
    **dict.fromkeys(_GETS, Machine._get),
    "MEMOIZE": Machine._memoize,
    "TUPLE": Machine._tuple,
    "TUPLE1": Machine._tuple_1,
    "TUPLE2": Machine._tuple_2,
    "TUPLE3": Machine._tuple_3,
    "LIST": Machine._list,
    "EMPTY_LIST": Machine._empty_list,
    "DICT": Machine._dict,
    "FROZENSET": Machine._frozen_set,
    "APPEND": Machine._append,
    "APPENDS": Machine._appends,
    "ADDITEMS": Machine._add_items,
    "SETITEM": Machine._set_item,
    "SETITEMS": Machine._set_items,
    "BUILD": Machine._build,
    "GLOBAL": Machine._name,
    "STACK_GLOBAL": Machine._stacked_name,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._reduce,
    "NEWOBJ_EX": Machine._new_with_keywords,
    "INST": Machine._instance,
    "OBJ": Machine._object,
    "PERSID": Machine._persistent_text,
    "BINPERSID": Machine._persistent,
}


def key_of(key: Any) -> Any:
    """What stands for `key` in a dict: a text or a small number itself, else an object of its own."""
    if isinstance(key, str) or (isinstance(key, int) and key.bit_length() <= _KEY_BITS):
        return key
    return OddKey()


def _asked(file: Any) -> set[Any]:
    """The memory slots that the pickle at `file`'s position reads."""
    return {argument for opcode, argument, _ in pickletools.genops(file) if opcode.name in _GETS}


class _Bounded:
    """A file that is never asked for more than it has: what a pickle claims to hold costs memory when it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.readline = file.tell, file.readline
        start = file.tell()
        self._end = file.seek(0, os.SEEK_END)
        file.seek(start)
        self.length = self._end - start

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._end - self._file.tell()))


Kind = TypeVar("Kind", bound=Machine)


def load(file: BinaryIO, where: str, machine: Callable[[str, int], Kind]) -> tuple[Any, Kind]:
    """The object that the pickle at the file's position describes; leaves the file behind the pickle.

    Args:
        file: seekable.
        where: names the file in messages.
        machine: makes one, given `where` and the length of what there is to read.

    Returns:
        the object, and the machine that made it.

    Raises:
        UserError: the pickle is damaged, or names something that the machine refuses.
    """
    try:
        bounded = _Bounded(file)
        made = machine(where, bounded.length)
        start = file.tell()
        made.asked = _asked(bounded)
        file.seek(start)
        return made.run(bounded), made
    except UserError:
        raise
    except Exception as error:  # of any type, as a pickle may do anything wrong
        raise UserError(f"{where}: its pickle is damaged ({described(error)}); fetch or save the file again") from error
