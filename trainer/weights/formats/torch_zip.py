"""PyTorch's present file: a zip archive of uncompressed members.

    NAME/data.pkl     a pickle that describes everything (see `pickled`)
    NAME/data/0 ...   the numbers of each storage
    NAME/byteorder    'little' or 'big' (absent in older files: little)
    NAME/code/...     a TorchScript archive's source code (OpenAI's CLIP); never looked at

Nothing is unpacked, and all members together cannot be larger than the file; zip's checksums find damaged numbers.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from shared.errors import UserError, described
from trainer.weights.formats import pickled, tensors

MAGIC = b"PK\x03\x04"


def read(path: Path) -> dict[str, np.ndarray]:
    """Weights by the file's own names, see `tensors.arrays`.

    Raises:
        UserError: the file is cut short or damaged, no file of PyTorch, or holds something else than weights.
    """
    where = f"weights {path}"
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path.stat().st_size, where)
    except UserError:
        raise
    except Exception as error:  # zipfile's own, and struct's, UTF-8's, ... at damaged headers
        raise UserError(
            f"{where}: cut short or damaged ({described(error)}); fetch the file again and compare its size"
        ) from error


def _read(archive: zipfile.ZipFile, length: int, where: str) -> dict[str, np.ndarray]:
    members = {info.filename: info for info in archive.infolist()}
    taken = sum(info.compress_size for info in archive.infolist())
    if len(members) != len(archive.infolist()) or taken > length:
        raise UserError(
            f"{where}: its {len(archive.infolist())} members ({len(members)} names) claim {taken} bytes of a file of "
            f"{length}; the file is damaged"
        )
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        older = any(name.endswith("/model.json") for name in members)
        raise UserError(
            f"{where}: a zip archive without PyTorch's data.pkl"
            + (
                "; TorchScript files from before PyTorch 1.4 are not read"
                if older
                else "; expected a file of torch.save"
            )
        )
    folder = pickles[0].removesuffix("data.pkl")

    def content(name: str) -> bytes:
        info = members.get(folder + name)
        if info is None:
            raise UserError(f"{where}: member {name} is missing; the file is damaged")
        if info.compress_type != zipfile.ZIP_STORED:
            raise UserError(f"{where}: member {name} is compressed, which PyTorch never does; fetch the original file")
        if info.file_size != info.compress_size:
            raise UserError(f"{where}: member {name} has two sizes; the file is damaged")
        return archive.read(info)

    big_endian = folder + "byteorder" in members and content("byteorder") == b"big"
    description = content("data.pkl")
    tree, _ = pickled.load(io.BytesIO(description), where)
    return tensors.arrays(tree, len(description), lambda key: content(f"data/{key}"), big_endian, where)
