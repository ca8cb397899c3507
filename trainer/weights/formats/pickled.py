"""The pickles inside PyTorch's files, read without PyTorch and without executing anything of theirs.

A pickle is a program for a small machine; all the power it has are the functions and classes that it names. Here a name
means something only if it is listed in this module, and what it means is harmless:

    torch._utils._rebuild_tensor_v2 ...   a `Tensor`, a description; its numbers are read later, and only if wanted
    torch.FloatStorage ...                the name of a dtype
    collections.OrderedDict               a dict
    __torch__.anything                    a `Module`: a TorchScript module's attributes, none of its code
    torch.jit._pickle.build_intlist ...   the list itself
    mmengine's HistoryBuffer, numpy ...   a `LeftOut`: it lies beside the weights in MMDetection's files, and is skipped
    anything else                         refused by its name

Nothing that a pickle can get hold of can be changed by it for the next reader: it sees immutable tuples, fresh objects,
and `Call` objects that refuse a state.
"""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from shared import pickles
from shared.pickles import Call

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

    def __new__(cls) -> Module:
        module = super().__new__(cls)
        module.attributes = {}
        return module

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = dict(state)


class LeftOut:
    """Replaces an object that no weights need."""

    def __new__(cls, *_: Any) -> LeftOut:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor over no storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _first(value: Any, *_: Any) -> Any:
    return value


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Mapping,
    ("torch._utils", "_rebuild_tensor"): Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): Call(_first),
    ("torch", "Size"): Call(tuple),
    **{("torch", name): dtype for name, dtype in STORAGE_DTYPES.items()},
    **{
        ("torch.jit._pickle", name): Call(_first)
        for name in (
            "build_boollist",
            "build_doublelist",
            "build_intlist",
            "build_tensorlist",
            "restore_type_tag",
        )
    },
    **dict.fromkeys(
        [
            ("mmengine.logging.history_buffer", "HistoryBuffer"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("_codecs", "encode"),
            ("__builtin__", "getattr"),  # HistoryBuffer's way to name its methods; nothing is looked up
        ],
        LeftOut,
    ),
}


class _Unpickler(pickles.Unpickler):
    ALLOWED = _ALLOWED
    REFUSAL = (
        "which weights do not need; refused, nothing was executed. If you trust its source, save the state dict alone: "
        "torch.save(model.state_dict(), FILE)"
    )

    def __init__(self, file: BinaryIO, where: str) -> None:
        super().__init__(file, where)
        self.itemsizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return Module
        return super().find_class(module, name)

    def persistent_load(self, identity: tuple) -> Storage:
        kind, dtype, key, _device, count, *view = identity
        first = 0
        if view and view[0] is not None:  # older files: a part of the storage `key`
            _, first, count = view[0]
        if kind != "storage" or dtype not in STORAGE_DTYPES.values() or not all(_is_index(n) for n in (first, count)):
            raise pickle.UnpicklingError(f"no storage: {identity!r}")
        storage = Storage(dtype, str(key), count, first)
        self.itemsizes[storage.key] = storage.itemsize
        return storage


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def load(file: BinaryIO, where: str) -> tuple[Any, dict[str, int]]:
    """The object that the pickle at the file's position describes; leaves the file behind the pickle.

    Args:
        file: seekable.
        where: names the file in messages.

    Returns:
        the object, and the bytes per number of every storage key that the pickle names.

    Raises:
        UserError: the pickle is damaged, or names something that is not in this module's list.
    """
    tree, unpickler = pickles.load(file, where, _Unpickler)
    return tree, unpickler.itemsizes
