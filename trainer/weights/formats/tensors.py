"""Arrays by name out of what a PyTorch pickle describes: where its state dict is, and how its tensors are laid out.

MMDetection and UniDetector keep it under ``state_dict``, RegionCLIP and detectron2 under ``model``, others save the
state dict itself; a TorchScript archive is a tree of modules whose paths are the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from shared.errors import UserError
from trainer.weights.formats.pickled import LeftOut, Module, Storage, Tensor

STATE_DICT_KEYS = ("state_dict", "model")
_SHOWN = 8  # names in a message


def arrays(tree: Any, read: Callable[[Storage], bytes], big_endian: bool, where: str) -> dict[str, np.ndarray]:
    """The weights that `tree` (of `pickled.load`) describes, under the file's own names.

    Args:
        tree: nested dicts or a Module.
        read: the bytes of a storage.
        big_endian: byte order of the file's numbers.
        where: names the file in messages.

    Returns:
        read-only views over the file's numbers: tensors that share a storage share memory, no shape costs any.
        bfloat16, which numpy lacks, becomes float32, exactly.

    Raises:
        UserError: there are no weights, or a tensor reaches beyond its storage.
    """
    storages: dict[Storage, np.ndarray] = {}
    found = {}
    for name, tensor in _named_tensors(tree, where).items():
        storage = tensor.storage
        if storage not in storages:
            content = read(storage)
            if len(content) != storage.length * storage.itemsize:
                raise UserError(
                    f"{where}: storage {storage.key!r} has {len(content)} bytes, expected {storage.length} × "
                    f"{storage.itemsize}; the file is damaged"
                )
            storages[storage] = numbers(content, storage.dtype, big_endian)
        found[name.removeprefix("module.")] = _view(tensor, storages[storage], f"{where}: tensor {name!r}")
    return found


def _named_tensors(tree: Any, where: str) -> dict[str, Tensor]:
    """The state dict inside `tree`."""
    top = tree
    if isinstance(tree, dict):
        tree = next((tree[key] for key in STATE_DICT_KEYS if isinstance(tree.get(key), dict | Module)), tree)
    entries = dict(
        _leaves(tree, "", set()) if isinstance(tree, Module) else tree.items() if isinstance(tree, dict) else ()
    )
    unreadable = [str(name) for name, value in entries.items() if isinstance(value, LeftOut)]
    if unreadable and tree is not top:
        raise UserError(
            f"{where}: {', '.join(unreadable[:_SHOWN])} are no PyTorch tensors but other Python objects, which are not "
            "read; convert them with torch.from_numpy and save again"
        )
    tensors = {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(map(str, list(top)[:_SHOWN])) if isinstance(top, dict) else type(top).__name__
        expected = " or ".join(map(repr, STATE_DICT_KEYS))
        raise UserError(
            f"{where}: no weights in it; expected tensors under {expected} or at the top, found {found or 'nothing'}"
        )
    return tensors


def _leaves(module: Module, prefix: str, above: set[int]) -> Iterator[tuple[str, Any]]:
    """Attributes of the module and of all below it, by their paths."""
    for name, value in module.attributes.items():
        if not isinstance(value, Module):
            yield prefix + name, value
        elif id(value) not in above:  # a module inside itself has no end
            yield from _leaves(value, f"{prefix}{name}.", above | {id(value)})


def numbers(content: bytes | bytearray, dtype: str, big_endian: bool) -> np.ndarray:
    """A file's bytes as a flat array of `dtype`; of float32 where that is ``bfloat16``, which numpy lacks."""
    if dtype == "bfloat16":  # the upper half of a float32
        halves = np.frombuffer(content, ">u2" if big_endian else "<u2")
        return (halves.astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, np.dtype(dtype).newbyteorder(">" if big_endian else "<")).astype(dtype, copy=False)


def _view(tensor: Tensor, storage: np.ndarray, where: str) -> np.ndarray:
    size = storage.itemsize
    try:
        # numpy itself refuses what reaches beyond the buffer.
        view: np.ndarray = np.ndarray(
            tensor.shape,
            storage.dtype,
            storage,
            offset=tensor.offset * size,
            strides=tuple(stride * size for stride in tensor.strides),
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{where}: shape {tensor.shape!r}, strides {tensor.strides!r}, offset {tensor.offset!r} do not lie in a "
            f"storage of {len(storage)} numbers; the file is damaged"
        ) from error
    view.flags.writeable = False
    return view
