"""The names of a data set's images beside its index, as `data_server.files.image_names` has them.

text      uint8    all lines, end to end
ends      int64    where each ends
hashes    uint64
"""

from __future__ import annotations

from pathlib import Path

from data_server.files.image_names import ImageNames
from data_server.files.index import columns
from data_server.files.index.columns import Columns

NAMES = "image names 1"


def write_names(folder: Path, names: ImageNames) -> None:
    """Writes the columns into an empty `folder`. Raises OSError."""
    found = {"text": names.text, "ends": names.ends, "hashes": names.hashes}
    entries = dict(columns.write(folder, name, rows) for name, rows in found.items())
    columns.write_header(folder, {"images": len(names)}, entries)


def read_names(found: Columns) -> ImageNames:
    """What `write_names` wrote, mapped."""
    return ImageNames(found["text"], found["ends"], found["hashes"])
