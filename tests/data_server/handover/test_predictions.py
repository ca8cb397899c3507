import errno
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from data_server.handover.predictions import Kept, check_room, read
from shared.errors import UserError
from shared.layout import Layout
from shared.messages import Predictions


def test_records_come_back_in_order_and_byte_for_byte():
    records = [(Predictions(Layout.pack([("boxes", "float32", (n, 4))]).wire), os.urandom(16 * n)) for n in (3, 0, 1)]
    kept = Kept()
    for message, payload in records:
        kept.append(message, payload)
    copy = os.dup(kept.descriptor)
    kept.close()
    assert read(copy) == [(message.layout, payload) for message, payload in records]


def test_no_records_are_no_predictions():
    assert read(os.dup(Kept().descriptor)) == []


def test_predictions_are_no_memory_of_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = Kept()
    for _ in range(3):
        kept.append(Predictions(b""), bytes(1 << 20))
    assert os.stat(kept.descriptor).st_size > 3 << 20
    assert os.readlink(f"/proc/self/fd/{kept.descriptor}").startswith(str(tmp_path)), "no file of that directory"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("images", "boxes"), [(1, 0), (7, 300), (64, 1000)])
def test_what_predictions_may_take_is_what_they_take(tmp_path, monkeypatch, images, boxes):
    arrays = {
        "image_ids": np.zeros(images, np.int64),
        "counts": np.zeros(images, np.int32),
        "original_shapes": np.zeros((images, 2), np.int32),
        "boxes": np.zeros((images * boxes, 4), np.float32),
        "scores": np.zeros(images * boxes, np.float32),
        "labels": np.zeros(images * boxes, np.int32),
    }
    taken = sum(array.nbytes for array in arrays.values())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    free = {str(tmp_path): taken}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free[place]))
    check_room(images, boxes)
    with pytest.raises(UserError, match=rf"up to {boxes + 1} boxes in each of {images} images, .* MiB are free"):
        check_room(images, boxes + 1)


def test_no_directory_for_predictions_is_one_line(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(UserError, match="predictions cannot be kept: No such file or directory; start with another"):
        check_room(1, 1)


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = Kept()
    kept.append(Predictions(b""), bytes(1 << 20))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"1 MiB so far: No space left on device; make room there, or start .* TMPDIR="):
        kept.append(Predictions(b""), b"more")
