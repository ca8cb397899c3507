"""The pickles inside PyTorch's files, read without PyTorch and without executing anything of theirs.

A pickle is a program for a small machine (`shared.pickles`); all the power it has are the functions and classes that it
names. Here a name means something only if it is listed in this module, and what it means is harmless:

    torch._utils._rebuild_tensor_v2 ...   a `Tensor`, a description; its numbers are read later, and only if wanted
    torch.FloatStorage ...                the name of a dtype
    collections.OrderedDict               a dict
    __torch__.anything                    a `Module`: a TorchScript module's attributes, none of its code
    torch.jit._pickle.build_intlist ...   the list itself
    anything else                         a `LeftOut`: nothing is imported, looked up or called. Beside weights such
                                          things are skipped (MMEngine's and Lightning's files have many), in place of
                                          weights they are refused by name
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np

from shared import pickles
from shared.pickles import LeftOut, Named, key_of

# PyTorch's storage classes and the dtypes of their numbers.
STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
# Bytes of a number in storages that are never weights, but lie in the way in PyTorch's older file.
_OTHER_BYTES = {
    "ComplexDoubleStorage": 16,
    "ComplexFloatStorage": 8,
    "QInt32Storage": 4,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "UntypedStorage": 1,
}
_JIT_LISTS = ("build_boollist", "build_doublelist", "build_intlist", "build_tensorlist", "restore_type_tag")
_MOST_DIMENSIONS = 64  # PyTorch's limit
_SHOWN = 20  # characters of a key in a message


class Storage(NamedTuple):
    """`length` numbers of `dtype` from number `first` on, of what the file keeps under `key`."""

    dtype: str
    key: str
    length: int
    first: int

    @property
    def itemsize(self) -> int:
        """Bytes of a number in the file."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


class Tensor(NamedTuple):
    """A tensor over a storage; `offset` and `strides` count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Mapping(dict):
    """An OrderedDict; the attributes that PyTorch hangs on a state dict's are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class Module:
    """A TorchScript module: its `attributes` by name, in the file's order."""

    def __init__(self) -> None:
        self.attributes: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _Machine(pickles.Machine):
    def __init__(self, where: str, length: int) -> None:
        super().__init__(where, length)
        self.itemsizes: dict[str, int] = {}

    def meaning(self, named: Named) -> Callable[..., Any] | None:
        if named.module == "__torch__" or named.module.startswith("__torch__."):
            return _Machine._module
        return super().meaning(named)

    def persistent(self, identity: Any, /) -> Storage | LeftOut:
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return LeftOut(Named("torch", "nn.Module"))  # older files keep the source text of a class so
        if not isinstance(identity, tuple) or not 5 <= len(identity) <= 6 or identity[0] != "storage":
            raise pickle.UnpicklingError("no storage")
        _, kind, key, _device, count, *view = identity
        first = 0
        if view and view[0] is not None:  # older files: a part of the storage `key`
            _, first, count = view[0]
        if not isinstance(kind, Named) or not isinstance(key, str) or not all(map(_is_index, (first, count))):
            raise pickle.UnpicklingError("no storage")
        dtype = STORAGE_DTYPES.get(kind.name)
        storage = LeftOut(kind) if dtype is None else Storage(dtype, key, count, first)
        size = _OTHER_BYTES.get(kind.name, 0) if isinstance(storage, LeftOut) else storage.itemsize
        if self.itemsizes.setdefault(key, size) != size:
            raise pickle.UnpicklingError(f"storage {key[:_SHOWN]!r} has numbers of two sizes")
        return storage

    def _module(self, *_: Any) -> Module:
        return Module()

    def _mapping(self, pairs: Any = ()) -> Mapping:
        self.spend(len(pairs))
        return Mapping((key_of(key), value) for key, value in pairs)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor | LeftOut:
        if isinstance(storage, LeftOut):
            return storage
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a tensor over no storage")
        return Tensor(storage, _integer(offset), _integers(shape), _integers(strides))

    def _tensor_of_subclass(self, rebuild: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
        if rebuild not in _REBUILD:
            return LeftOut(rebuild) if isinstance(rebuild, Named) else LeftOut(Named("torch", "Tensor"))
        return self.call(rebuild, arguments)

    def _first(self, value: Any, *_: Any) -> Any:
        return value

    def _size(self, sizes: Any = ()) -> tuple[int, ...]:
        return _integers(sizes)

    def _kept_by_name(self, *_: Any) -> Any:
        raise pickle.UnpicklingError("a storage without numbers")

    MEANINGS: ClassVar = {
        ("collections", "OrderedDict"): _mapping,
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _first,
        ("torch._utils", "_rebuild_parameter_with_state"): _first,
        ("torch._tensor", "_rebuild_from_type_v2"): _tensor_of_subclass,
        ("torch", "Size"): _size,
        **dict.fromkeys((("torch", name) for name in STORAGE_DTYPES), _kept_by_name),
        **dict.fromkeys((("torch.jit._pickle", name) for name in _JIT_LISTS), _first),
    }


_REBUILD = [("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_tensor_v2")]


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise pickle.UnpicklingError(f"a {type(value).__name__} where a tensor has a number")
    return value


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > _MOST_DIMENSIONS:
        raise pickle.UnpicklingError("a shape or strides of a tensor are no list of numbers")
    return tuple(map(_integer, values))


def load(file: BinaryIO, where: str) -> tuple[Any, dict[str, int]]:
    """The object that the pickle at the file's position describes; leaves the file behind the pickle.

    Args:
        file: seekable.
        where: names the file in messages.

    Returns:
        the object, and the bytes per number of every storage key that the pickle names.

    Raises:
        UserError: the pickle is damaged.
    """
    tree, machine = pickles.load(file, where, _Machine)
    return tree, machine.itemsizes
