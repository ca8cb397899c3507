"""CLIP in a process of the data server's: rows of names that nobody has embedded before."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from shared.errors import UserError
from tests.trainer.runs import ROOT
from trainer.tasks.serve.encoder import Encoder

NAMES = ["cat", "traffic light"]

needs_open_clip = pytest.mark.skipif(
    importlib.util.find_spec("open_clip") is None, reason="open_clip is not installed: pip install -e '.[embed]'"
)


def embedders() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "embed" in one.cmdline()]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP, with what it says about NAMES beside it."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "prompts.json").write_text(json.dumps({name: [f"{name}."] for name in NAMES}))
    command = [sys.executable, "-m", "tests.data_server.small_clip", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / "clip.pth"


@pytest.mark.slow
@needs_open_clip
def test_the_rows_are_those_of_the_embed_command_and_are_made_once(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    command = [sys.executable, "-m", "data_server", "embed", "--names-file", tmp_path / "names.txt"]
    command += ["--clip", weights, "--out", tmp_path / "rows.npy"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    expected = np.load(tmp_path / "rows.npy")

    said: list[str] = []
    encoder = Encoder(weights, 24, said.append)
    np.testing.assert_array_equal(encoder.rows(["Traffic  light", "cat"])[1], expected[0])
    (process,) = embedders()
    assert process.environ()["CUDA_VISIBLE_DEVICES"] == ""
    process.kill()
    process.wait()
    with pytest.raises(UserError, match="died; ask again"):
        encoder.rows(["dog"])
    assert len(encoder.rows(["dog", "cat"])) == 2
    encoder.close()
    assert embedders() == []
    # what is kept needs no process, whatever letters it is written in
    again = Encoder(weights, 24, said.append)
    np.testing.assert_array_equal(again.rows(["CAT"])[0], expected[0])
    assert embedders() == [] and said == []
    with pytest.raises(UserError, match="rows have 24 numbers, the detector's 1024; give the CLIP that"):
        Encoder(weights, 1024, said.append).rows(["bird"])


@pytest.mark.slow
@needs_open_clip
def test_a_file_that_holds_no_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.pt").write_bytes(os.urandom(100))
    with pytest.raises(UserError, match=r"CLIP weights .*wrong\.pt: "):
        Encoder(tmp_path / "wrong.pt", 24, print).rows(["cat"])
    assert embedders() == []


def test_weights_that_are_not_there_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--clip .*none\.pt: No such file or directory; expected CLIP's weights"):
        Encoder(tmp_path / "none.pt", 24, print)


def test_without_a_place_to_keep_them_rows_are_made_by_every_start(tmp_path: Path, homeless: str) -> None:
    (tmp_path / "clip.pt").touch()
    said: list[str] = []
    encoder = Encoder(tmp_path / "clip.pt", 2, said.append)
    encoder._known["cat"] = ("cat", np.ones(2, np.float32))
    encoder._keep()
    assert len(said) == (homeless != "nowhere")
    assert all("the next start will embed its names again" in line for line in said)
