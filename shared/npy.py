"""Arrays in ``.npy`` files of users: read, or refused in one line."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import UserError, described


def read(path: str | os.PathLike[str], where: str) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file; nothing is unpickled, and no more memory is taken than the file is long.

    Args:
        where: what the file was given as, for messages.

    Raises:
        UserError: the file is missing, cut short, too long, or no such file.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(2) == b"PK":
                raise ValueError("expected one array, found an archive of arrays")
            file.seek(0)
            header: Any = np.lib.format
            version = header.read_magic(file)
            read_header = header.read_array_header_1_0 if version == (1, 0) else header.read_array_header_2_0
            shape, _, dtype = read_header(file)
            claimed = dtype.itemsize
            for length in shape:
                claimed *= length
            if dtype.hasobject or any(length < 0 for length in shape) or claimed != size - file.tell():
                raise ValueError(
                    f"its header says {dtype} {shape}, {claimed} bytes, and {size - file.tell()} bytes follow"
                )
            file.seek(0)
            array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
            return array
    except Exception as error:  # numpy's, tokenize's, zipfile's, ... at damaged headers
        text = error.strerror if isinstance(error, OSError) and error.strerror else described(error)
        raise UserError(f"{where}: cannot read {str(path)!r} as a .npy file: {text}") from None
