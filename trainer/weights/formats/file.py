"""A weight file, whatever wrote it: recognised by its first bytes, never by its name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from shared.errors import UserError, described
from trainer.weights.formats import tensors, torch_legacy, torch_zip

_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Weights by the file's own names: ``.pth`` and ``.pt`` of PyTorch, TorchScript archives, ``.safetensors``.

    Returns:
        arrays of the stored shapes and dtypes; bfloat16 as float32.

    Raises:
        UserError: the file is missing, cut short, damaged, of another kind, or holds no weights.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise UserError(f"weights {path}: no such file")
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({described(error)})") from error
    if head.startswith(torch_zip.MAGIC):
        return torch_zip.read(path)
    if head.startswith(torch_legacy.MAGIC):
        return torch_legacy.read(path)
    if is_safetensors(head):
        return _read_safetensors(path)
    raise UserError(
        f"weights {path}: neither a PyTorch file (.pth, .pt) nor a .safetensors file; it begins with {head!r}. "
        + ("A download that failed often leaves a web page" if b"<" in head else "Is it complete?")
    )


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is a safetensors file: eight bytes of length, then JSON."""
    return len(head) == 16 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        entries = deserialize(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise UserError(f"weights {path}: not a complete safetensors file ({error}); fetch it again") from error
    found = {}
    for name, entry in entries:
        dtype = _SAFETENSORS_DTYPES.get(entry["dtype"])
        if dtype is None:
            known = ", ".join(_SAFETENSORS_DTYPES)
            raise UserError(f"weights {path}: tensor {name!r} is {entry['dtype']}; expected one of {known}")
        try:
            found[name] = tensors.numbers(entry["data"], dtype, big_endian=False).reshape(entry["shape"])
        except ValueError as error:  # a shape without numbers that numpy has no room for
            raise UserError(f"weights {path}: tensor {name!r}: {error}; the file is damaged") from None
    return found
