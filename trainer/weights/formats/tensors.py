"""Arrays by name out of what a PyTorch pickle describes: where its state dict is, and how its tensors are laid out.

MMDetection and UniDetector keep it under ``state_dict``, RegionCLIP and detectron2 under ``model``, others save the
state dict itself; a TorchScript archive is a tree of modules whose paths are the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from shared.errors import UserError
from shared.pickles import LeftOut
from trainer.weights.formats.pickled import Module, Tensor

STATE_DICT_KEYS = ("state_dict", "model")
_PARALLEL = "module."  # what DataParallel puts before all names; MMEngine takes it away as well
_NUMPY = ("numpy", "_codecs")  # whose arrays are harmless, and no tensors
_SHOWN = 8  # names in a message
_MOST_LEVELS = 64  # of modules
_GROWTH = 64  # characters of names for each byte of a pickle
_SPARE = 1 << 16


def arrays(tree: Any, length: int, read: Callable[[str], bytes], big_endian: bool, where: str) -> dict[str, np.ndarray]:
    """The weights that `tree` (of `pickled.load`) describes, under the file's own names without ``module.``.

    Args:
        tree: nested dicts or a Module.
        length: bytes of the pickle that described it; what its modules are named may take a multiple of them.
        read: the bytes that the file keeps under a key, called once for each.
        big_endian: byte order of the file's numbers.
        where: names the file in messages.

    Returns:
        read-only views over the file's numbers: tensors that share a storage share memory, no shape costs any.
        bfloat16, which numpy lacks, becomes float32, exactly.

    Raises:
        UserError: there are no weights, or a tensor reaches beyond its storage.
    """
    storages: dict[tuple[str, str], np.ndarray] = {}
    found = {}
    named = _named_tensors(tree, length, where)
    for name, tensor in named.items():
        storage = tensor.storage
        kept = storages.get((storage.key, storage.dtype))
        if kept is None:
            if any(key == storage.key for key, _ in storages):
                raise UserError(f"{where}: storage {storage.key!r} has numbers of two types; the file is damaged")
            content = read(storage.key)
            kept = numbers(content[: len(content) // storage.itemsize * storage.itemsize], storage.dtype, big_endian)
            storages[storage.key, storage.dtype] = kept
        part = kept[storage.first : storage.first + storage.length]
        if len(part) != storage.length:
            raise UserError(
                f"{where}: storage {storage.key!r} has {len(kept) * storage.itemsize} bytes, expected "
                f"{storage.first + storage.length} × {storage.itemsize}; the file is damaged"
            )
        short = name.removeprefix(_PARALLEL)
        found[name if short in named else short] = _view(tensor, part, f"{where}: tensor {name!r}")
    return found


def _named_tensors(tree: Any, length: int, where: str) -> dict[str, Tensor]:
    """The state dict inside `tree`."""
    top = tree
    if isinstance(tree, dict):
        tree = next((tree[key] for key in STATE_DICT_KEYS if isinstance(tree.get(key), dict | Module | LeftOut)), tree)
    if isinstance(tree, LeftOut):
        raise UserError(_refusal(tree, where))
    entries: dict[str, Any] = {}
    if isinstance(tree, Module):
        entries = _leaves(tree, length, where)
    elif isinstance(tree, dict):
        entries = {str(name): value for name, value in tree.items() if isinstance(value, Tensor | LeftOut)}
    unreadable = {name: value for name, value in entries.items() if isinstance(value, LeftOut)}
    if unreadable and tree is not top:
        strange = [value for value in unreadable.values() if value.what.module.partition(".")[0] not in _NUMPY]
        if strange:
            raise UserError(_refusal(strange[0], where))
        raise UserError(
            f"{where}: {', '.join(list(unreadable)[:_SHOWN])} are no PyTorch tensors but other Python objects, which "
            "are not read; convert them with torch.from_numpy and save again"
        )
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(map(str, list(top)[:_SHOWN])) if isinstance(top, dict) else type(top).__name__
        expected = " or ".join(map(repr, STATE_DICT_KEYS))
        raise UserError(
            f"{where}: no weights in it; expected tensors under {expected} or at the top, found {found or 'nothing'}"
        )
    for name in tensors:
        if not name.isprintable():
            raise UserError(f"{where}: {name!r} is no name of a tensor; the file is damaged")
    return tensors


def _refusal(found: LeftOut, where: str) -> str:
    return (
        f"{where}: its pickle asks for {found.what}, which is no tensor; refused, nothing was executed. If you trust "
        "its source, save the state dict alone: torch.save(model.state_dict(), FILE)"
    )


def _leaves(module: Module, length: int, where: str) -> dict[str, Any]:
    """Tensors of the module and of all below it, by their paths; a module inside itself ends where it begins.

    Modules may be shared, so a short pickle can have more paths than a file has bytes.
    """
    found: dict[str, Any] = {}
    budget = _GROWTH * length + _SPARE
    levels: list[tuple[Module, str, Iterator[tuple[Any, Any]]]] = [(module, "", iter(module.attributes.items()))]
    while levels:
        _, prefix, attributes = levels[-1]
        for name, value in attributes:
            budget -= 1
            if not isinstance(value, Module | Tensor | LeftOut):
                continue
            path = f"{prefix}{name}" if isinstance(name, str) else ""
            budget -= len(path)
            if budget < 0 or len(levels) > _MOST_LEVELS:
                raise UserError(
                    f"{where}: its modules have more or deeper paths than weights have; the file is damaged"
                )
            if not isinstance(value, Module):
                found[path] = value
            elif all(value is not above for above, _, _ in levels):
                levels.append((value, f"{path}.", iter(value.attributes.items())))
                break
        else:
            levels.pop()
    return found


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
