"""Every config that comes with the project builds, small, and takes a training step on made-up images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.train_loop import TrainLoop
from tests.configs import files
from tests.configs.shipped import FILES, load
from tests.parity.models import changed
from tests.trainer.models.clip_examples import LENGTH, SMALL_END_TO_END, SMALL_STAGE_2, batch_with_proposals
from tests.trainer.models.examples import SMALL_STAGE_1, random_batch
from trainer import device
from trainer.batch import Batch
from trainer.device import jt, var
from trainer.models import build_detector
from trainer.training.optimizer import build_optimizer
from trainer.training.schedule import Schedule
from trainer.training.terms import total_loss

STEPS_PER_EPOCH = 600
# Of a config that is never trained, but whose model could be.
PLAIN = {"optimizer": {"type": "SGD", "lr": 0.01}}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def small(name: str, model: dict) -> dict:
    if "stage 1" in name:
        return changed(model, **SMALL_STAGE_1)
    return changed(model, **(SMALL_END_TO_END if "end to end" in name else SMALL_STAGE_2))


def batch_for(name: str, head: dict) -> Batch:
    """Two images; where there are several vocabularies, one image is of the first data set and one of the last."""
    if "stage 1" in name:
        return random_batch()
    batch = batch_with_proposals()
    paths = head["zeroshot_path"]
    batch.host["dataset_ids"] = np.array([0, len(paths) - 1 if isinstance(paths, list) else 0], np.int32)
    batch.host["labels"][1, 0] = head["num_classes"] - 1  # the largest vocabulary's last class
    batch.labels = var(batch.host["labels"])
    return batch


@pytest.mark.parametrize("name", FILES)
def test_a_config_takes_a_training_step(name: str, data_root: Path) -> None:
    config = load(name, data_root=str(data_root))
    head = config.model.roi_head.bbox_head
    files.write(head, LENGTH)
    described = small(name, config.model)
    if "calibration" in head:
        described["roi_head"]["bbox_head"]["calibration"] = files.write_calibration(head, data_root)
    device.seed(0)
    model = build_detector(described)
    optimizer = build_optimizer(config.get("optim_wrapper", PLAIN), model)
    if "param_scheduler" in config:
        schedule = Schedule(
            config.param_scheduler, optimizer.base_rate, STEPS_PER_EPOCH, TrainLoop.of(config.train_cfg)
        )
        optimizer.follow(schedule, STEPS_PER_EPOCH - 1)
    watched = {key: value.numpy() for key, value in model.named_parameters() if "roi_head.bbox_head.fc_reg" in key}
    terms = model.loss(batch_for(name, head))
    optimizer.step(total_loss(terms))
    jt.sync_all()
    values = {key: value.item() for key, value in terms.items()}
    assert all(np.isfinite(value) for value in values.values()), values
    assert all(value > 0 for key, value in values.items() if "loss" in key and key != "loss_rpn_cls"), values
    assert (values.get("loss_rpn_cls", 0) > 0) == ("end to end" in name)  # stage 1 trains it with weight 0
    after = dict(model.named_parameters())
    for key, before in watched.items():
        moved = np.abs(after[key].numpy() - before).max()
        assert 0 < moved < 1, (key, moved)
