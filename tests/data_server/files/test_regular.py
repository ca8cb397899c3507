"""Only regular files are read: as images, as a sample's other files, as proposals."""

import os
import signal
import socket

import pytest

from data_server.files import proposal_list, regular
from data_server.files.image import damage
from data_server.files.proposal_file import ProposalFile
from data_server.files.regular import read, unfit
from shared.errors import UserError
from tests.cluster import digests
from tests.photos import TRAIN_PIPELINE, annotations_of, config_of, draw, write_annotations

KINDS = {
    "a directory": os.mkdir,
    "a named pipe": os.mkfifo,
    "a device": lambda path: os.symlink("/dev/zero", path),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}


@pytest.fixture(params=KINDS)
def odd(request, tmp_path):
    """A path at which there is something else than a file, and what that is."""
    path = tmp_path / "odd.jpg"
    KINDS[request.param](path)
    return path, request.param


def test_what_is_no_regular_file_is_named_and_never_opened(odd):
    path, kind = odd
    said = f"it is {kind}; expected a regular file"
    assert unfit(path) == said == damage(str(path))
    with pytest.raises(OSError, match=said):
        read(path)
    for reader in (ProposalFile.open, proposal_list.read):
        with pytest.raises(UserError, match=f"proposal file '{path}': {said}"):
            reader(path)


def test_a_file_is_read_as_far_as_it_reached_when_it_was_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert unfit(tmp_path / "file") is None and read(tmp_path / "file") == b"x" * 100
    assert os.stat("/proc/self/status").st_size == 0 and read("/proc/self/status") == b""
    assert unfit(tmp_path / "nothing") is None


def test_a_pipe_that_takes_a_files_place_keeps_nobody_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(regular, "unfit", lambda _: None)  # what lay there when it was looked at

    def waits(*_):
        raise AssertionError("it waits for a writer")

    earlier = signal.signal(signal.SIGALRM, waits)
    signal.alarm(60)
    try:
        with pytest.raises(OSError, match="it is a named pipe; expected a regular file"):
            read(tmp_path / "pipe")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def test_an_image_that_is_no_regular_file_ends_the_stream_by_name(cluster, tmp_path, odd):
    photos = draw(tmp_path / "photos")
    content = annotations_of(photos)
    content["images"][0]["file_name"] = str(odd[0])
    write_annotations(photos, content)
    with pytest.raises(UserError, match=f"image '{odd[0]}': it is {odd[1]}; expected a regular file"):
        digests(cluster.open(config_of(photos)), 6)


def test_a_second_file_of_a_sample_that_is_no_regular_file_is_named(cluster, photos, odd):
    pipeline = (*TRAIN_PIPELINE[:-1], {"type": "LoadsAnother", "path": str(odd[0])}, TRAIN_PIPELINE[-1])
    config = config_of(photos, pipeline=pipeline, custom_imports={"imports": ["tests.data_server.transforms"]})
    with pytest.raises(UserError, match=f"image .*: the pipeline fails on it: OSError: file '{odd[0]}': it is"):
        digests(cluster.open(config), 1)
