import errno
import os

import pytest

from data_server.handover.predictions import Kept, read
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


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = Kept()
    kept.append(Predictions(b""), bytes(1 << 20))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"1 MiB so far: No space left on device; make room there, or start .* TMPDIR="):
        kept.append(Predictions(b""), b"more")
