"""What W&B's service has written of a run: ``wandb/offline-run-*/run-*.wandb``.

7 bytes of head, then LevelDB's log: blocks of 32 KiB, in which a piece of a record has
a checksum u32, its length u16, its kind u8: 1 whole, 2 first, 3 middle, 4 last
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

from trainer.training import events

TAG = "val/coco/contact_sheet"
_BLOCK, _HEAD, _PIECE = 32768, 7, struct.Struct("<IHB")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all runs of a folder ``wandb/``, in their order, without W&B's own columns."""
    found = []
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                *places, key = item.nested_key or [item.key]
                inner = row
                for place in places:
                    inner = inner.setdefault(place, {})
                inner[key] = json.loads(item.value_json)
            found.append({key: value for key, value in row.items() if not key.startswith("_")})
    return found


def in_tensorboard(work_dir: Path) -> list[events.Found]:
    return [one for path in sorted((work_dir / "tensorboard").iterdir()) for one in events.read(path, 0)[0]]


def assert_same(work_dir: Path, found: list[dict[str, Any]]) -> None:
    """W&B's rows are TensorBoard's events, with each tag, step and number, and each picture."""
    expected = in_tensorboard(work_dir)
    assert len(expected) == len(found) > 0
    for event, row in zip(expected, found, strict=True):
        assert row.pop("step") == event.step
        if event.pictures:
            ((picture,), (png,)) = row.values(), event.pictures.values()
            (file,) = work_dir.glob(f"wandb/offline-run-*/files/{picture['path']}")
            pixels = np.asarray(Image.open(io.BytesIO(png)))
            np.testing.assert_array_equal(np.asarray(Image.open(file)), pixels)
        else:
            assert {tag: np.float32(value) for tag, value in row.items()} == {
                tag: np.float32(value) for tag, value in event.numbers.items()
            }


def records(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("*run-*/*.wandb")):
        content, at, record = path.read_bytes(), _HEAD, b""
        while at + _PIECE.size <= len(content):
            if (left := _BLOCK - at % _BLOCK) < _PIECE.size:
                at += left
                continue
            _, length, kind = _PIECE.unpack_from(content, at)
            at += _PIECE.size
            record = (b"" if kind in (1, 2) else record) + content[at : at + length]
            at += length
            if at > len(content):  # it is being written
                break
            if kind in (1, 4):
                yield Record.FromString(record)
