"""``python -m data_server replay`` makes the very batch again that the server delivered."""

import re
import subprocess
import sys

import pytest
from PIL import Image

from shared.config import load_config
from shared.data_part import data_part
from tests.cluster import ROOT

CONFIG = "configs/trial/coco_photos_cln.py"
STEP = 5


def replay(photos, *arguments):
    command = [sys.executable, "-m", "data_server", "replay", "--config", CONFIG, *arguments]
    options = [
        "--cfg-options",
        f"data_root={photos}",
        "train_dataloader.dataset.ann_file=all.json",
        "randomness.seed=7",
    ]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def replayed(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    done = replay(photos, "--step", str(STEP), "--draw", str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_a_replayed_batch_has_the_checksum_of_the_delivered_one(cluster, photos, replayed):
    config = load_config(str(ROOT / CONFIG), {"data_root": str(photos)})
    config.train_dataloader.dataset.ann_file = "all.json"
    client = cluster.open(data_part(config, "train"), seed=7, step=STEP)
    lease = client.next()
    assert lease.step == STEP
    assert re.search(r"xxh3_64 ([0-9a-f]{16})", replayed[0])[1] == f"{lease.digest:016x}"
    assert replayed[0].startswith(f"step {STEP} (epoch {STEP // 3}, of {client.welcome.images} images), payload ")
    for image_id in lease.arrays["image_ids"]:
        assert f"image {image_id}: " in replayed[0]


def test_a_replayed_batch_is_drawn_with_its_boxes(replayed):
    drawn = sorted(replayed[1].glob(f"step_{STEP}_*.png"))
    assert len(drawn) == 4
    for path in drawn:
        with Image.open(path) as image:
            assert (60, 220, 60) in {colour for _, colour in image.getcolors(1 << 24)}


def test_a_step_that_cannot_be_is_refused_in_one_line(photos):
    done = replay(photos, "--step", "-1")
    assert done.returncode == 2 and done.stderr.strip() == "error: --step -1: expected 0 or more"
