"""Stage 1's boxes for every image of a config's data sets, in files that stage 2 reads.

    every data set of train, val and test ──► in test mode, unfiltered, with val's pipeline
       batches ──► detector.predict ──► PREDICTIONS, EVALUATE with 'ProposalFile' ──► the data server adds them to
       ``proposal_dir``/<annotation file>-<images>-<model>.safetensors

The data server writes them, because it also reads them: `data_server.files.proposal_file` has the format,
`data_server.datasets.proposals` says how a config asks for them. File names carry the fingerprints of the images and
of the model, so complete files are left as they are, and an interrupted one continues at its last 64 images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from mmengine.config import Config

from shared.data_part import data_part
from shared.datasets import parts_of, whole
from shared.errors import UserError
from trainer.device import jt, nn
from trainer.evaluation.predictions import as_arrays
from trainer.feed.feed import Feed
from trainer.feed.server import ServerHandle
from trainer.reporting.picture_folder import FOLDER, Pictures
from trainer.weights.names import is_bookkeeping

SPLITS = ("train", "val", "test")
SPLIT = "propose"
IMAGES_AT_A_TIME = 64


@dataclass(frozen=True)
class Proposing:
    """How proposals are made.

    Attributes:
        config: has the data sets, and says where proposals go.
        server: where batches come from, and who writes the files.
        work_dir: where pictures go, and proposals without a ``proposal_dir``.
        say: a line for the user.
        draws: whether every image is drawn.
        threshold: of what is drawn, see `Pictures`.
    """

    config: Config
    server: ServerHandle
    work_dir: Path
    say: Callable[[str], None]
    draws: bool = False
    threshold: float | None = None

    def run(self, model: nn.Module, weights: Path) -> None:
        """Proposes for every data set; continues where an earlier call was interrupted.

        Args:
            weights: the file that `model` has its weights from, to be named.

        Raises:
            UserError: the config has no data set or no pipeline for testing.
        """
        folder = folder_of(self.config, self.work_dir)
        configs = list(data_sets(self.config))
        if not configs:
            raise UserError(
                f"config {self.config.filename!r} has no train_dataloader, val_dataloader or test_dataloader"
            )
        identity = fingerprint(model, configs[0])
        self.say(f"proposals of {weights} (model {identity}) go to {folder}")
        order = {
            "type": "ProposalFile",
            "folder": str(folder),
            "model": identity,
            "about": f"{weights}, {self.config.filename}",
            "boxes": model.roi_head.test_cfg["max_per_img"],
        }
        for one in configs:
            self._propose(model, one, order)

    def _propose(self, model: nn.Module, config: Config, order: dict[str, Any]) -> None:
        """For one of `data_sets`."""
        title = Path(config[f"{SPLIT}_dataloader"].dataset.get("ann_file") or "images").stem
        pictures = Pictures(self.work_dir / FOLDER / title, self.threshold) if self.draws else None

        def keep(first: int, predictions: list[dict[str, np.ndarray]]) -> int:
            config[f"{SPLIT}_evaluator"] = {**order, "first": first}
            return int(feed.evaluate(predictions)["images_done"])

        def opened(step: int) -> Feed:
            return Feed(self.server, config, SPLIT, self.work_dir, self.say, step=step, epochs=1)

        feed, size = opened(0), config[f"{SPLIT}_dataloader"].batch_size
        try:
            done, images = keep(0, []), feed.images
            if done == images:
                self.say(f"{title}: the proposals of all {images} images are already there")
                return
            if done:
                self.say(f"{title}: continuing after {done} of {images} images")
                feed.close()
                feed = opened(done // size)
            model.eval()
            first, boxes = done // size * size, 0
            predictions: list[dict[str, np.ndarray]] = []
            with jt.no_grad():
                for batch in feed:
                    detections = model.predict(batch)[: batch.valid]
                    found = as_arrays(batch, detections)
                    if pictures is not None:
                        pictures.add_batch(batch.pictures(), batch.host, detections, [])
                    jt.sync_all()
                    predictions.append(found)
                    boxes += len(found["scores"])
                    waiting = sum(len(one["counts"]) for one in predictions)
                    if waiting >= IMAGES_AT_A_TIME or first + waiting == images:
                        done, first, predictions = keep(first, predictions), first + waiting, []
            self.say(f"{title}: {boxes} proposals for {done} images")
        finally:
            model.train()
            feed.close()
            jt.gc()


def folder_of(config: Config, work_dir: Path) -> Path:
    """Where proposals go: ``proposal_dir``, by default the work dir's ``proposals``."""
    return Path(config.get("proposal_dir") or work_dir / "proposals")


def data_sets(config: Config) -> Iterator[Config]:
    """For each data set of the config, once, a config whose ``propose_dataloader`` yields all its images in order.

    Raises:
        UserError: no split tells how images are prepared for testing.
    """
    tests = [config.get(f"{split}_dataloader") for split in ("val", "test")]
    judged = [part for loader in tests if loader for part in parts_of(loader["dataset"])]
    pipelines = [part["pipeline"] for part in judged if part.get("pipeline")]
    seen = []
    for split in SPLITS:
        loader = config.get(f"{split}_dataloader")
        for dataset in parts_of(loader["dataset"]) if loader else ():
            if not pipelines:
                raise UserError(
                    f"config {config.filename!r}: neither val_dataloader nor test_dataloader has a pipeline; "
                    "proposing prepares images as for testing"
                )
            identity = [dataset.get(key) for key in ("type", "data_root", "ann_file", "data_prefix")]
            if identity in seen:
                continue
            seen.append(identity)
            one = Config(config.to_dict(), filename=config.filename)
            one[f"{SPLIT}_dataloader"] = {
                "batch_size": next(loader for loader in tests if loader)["batch_size"],
                "dataset": whole(dataset, pipelines[0]),
            }
            yield one


def fingerprint(model: nn.Module, config: Config) -> str:
    """32 hexadecimal digits, of the weights and of all in a config that decides what they propose for an image."""
    digest = xxhash.xxh3_128()
    for name, array in sorted(model.state_dict(to="numpy").items()):
        if not is_bookkeeping(name):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    part = data_part(config, SPLIT)
    parts = {key: value for key, value in config.model.to_dict().items() if key not in ("train_cfg", "init_cfg")}
    digest.update(json.dumps([parts, part["dataset"]["pipeline"], part["size_divisor"]], sort_keys=True).encode())
    return digest.hexdigest()
