"""Weights of PyTorch's stage 2, partitioned and end-to-end detectors load whole; stage 1's: see test_export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from tests.configs import files
from tests.configs.shipped import load
from tests.configs.test_sizes import LENGTH, SIZES
from trainer.models import build_detector
from trainer.weights import names, pretrained
from trainer.weights.formats import file

ROOT = Path(__file__).parents[3]
NAMES = [name for name in SIZES if "stage 1" not in name]


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Config]:
    """The configs, with vocabularies on the disk, and weights that PyTorch wrote beside each."""
    root = tmp_path_factory.mktemp("data")
    loaded, arguments = {}, []
    for name in NAMES:
        config = load(name, data_root=str(root))
        files.write(config.model.roi_head.bbox_head, LENGTH)
        path = root / f"{name.replace(' ', '_')}.py"
        config.dump(str(path))
        loaded[name] = load_dumped = Config.fromfile(str(path))
        load_dumped.load_from = str(path.with_suffix(".pth"))
        arguments += [str(path), path.stem]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.trainer.weights.torch_clip_detectors", str(root), *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    written = [line.split()[1:] for line in done.stdout.splitlines()]
    assert written == [[str(SIZES[name][2]), str(SIZES[name][0])] for name in NAMES]
    return loaded


@pytest.mark.parametrize("name", NAMES)
def test_pytorchs_weights_load_whole_and_the_vocabulary_stays(name: str, configs: dict[str, Config]) -> None:
    """Of the file, only the text embeddings and the norms' counters are left out."""
    config = configs[name]
    model = build_detector(config.model)
    said: list[str] = []
    pretrained.load(config.load_from, model, said.append, complete=True)
    theirs, ours = file.read(config.load_from), model.state_dict(to="numpy")
    left_out = {key for key in theirs if names.is_bookkeeping(key)}
    assert said == [f"weights {config.load_from}: {len(theirs) - len(left_out)} tensors fit"]
    assert {key.rpartition(".")[2].rstrip("_0123456789") for key in left_out} == {"num_batches_tracked", "zs_weights"}
    assert ours.keys() == {key for key in theirs if not key.endswith("num_batches_tracked")}
    for key, array in ours.items():
        assert np.array_equal(array, theirs[key]) == (key not in left_out), key
