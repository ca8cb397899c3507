"""COCO, Objects365 and OpenImages at their real sizes in one ConcatDataset: what a start costs, and that training fits.

    python -m benchmarks.three_sets [--share S] [--steps N] [--workers N] [--folder DIR]

Annotation files of 118,287, 1,742,289 and 1,743,042 images are written (`benchmarks.annotation_file`, 8 GB; those that
are in DIR already are used again), whose pictures are 48 photographs again and again, and 20 proposals for each image
(1.4 GB). Then, each with processes of its own:

    first start    HELLO to the first batch of 16 images at 1333x800, with no index there
    second start   the same again; with proposals: the same for stage 2, first while nothing is kept of their images'
                   names yet
    second rank    what another rank of the same training takes beside the first, once both have had some batches;
                   `slots` is the size of its slots, `index` that of all annotations
    stage 1        N steps of the demo's small network, all boxes one class, by ``python -m trainer train``, 2 images a
                   batch at 192x144
    stage 2        N steps of the demo's small partitioned network, a vocabulary and proposals for each set

`cpu` is the seconds of all processes of the data server; of a training, those of the trainer alone. `memory` is that of
all processes together at its largest, a page that several have mapped counted once (the sum of Pss). A process that
takes more than 16 GiB of its own (RLIMIT_DATA) is refused it, and dies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from mmengine.config import Config

from benchmarks.annotation_file import COCO, OBJECTS365, OPEN_IMAGES, PHOTOGRAPHS, Form, write
from benchmarks.data_server_contender import CREDITS, open_stream
from benchmarks.rounds import REPOSITORY, RESULTS, machine, shown, write_results
from benchmarks.standard_data import IMAGES, SIZES, make_photographs
from data_server.files.image_names import ImageNames
from data_server.files.index.cache import index_of
from data_server.files.proposal_file import Writer
from data_server.machine.fields import numbers
from shared.address import Address
from shared.data_part import data_part
from shared.messages import Hello

SETS: dict[str, tuple[Form, int]] = {
    "coco": (COCO, 118_287),
    "objects365": (OBJECTS365, 1_742_289),
    "openimages": (OPEN_IMAGES, 1_743_042),
}
LIMIT = 16 << 30
BATCH_SIZE, PROPOSALS, EMBEDDING = 16, 20, 128
TRAINED = 2  # images in a batch: two cores take 200 steps in minutes
_AT_A_TIME = 100_000  # images
_LOOK_SECONDS = 1.0
_MEGABYTE = 1e6

Figures = dict[str, Any]


def prepare(folder: Path, share: float) -> None:
    """Writes what is not there: photographs, annotation files, embeddings."""
    for name in SETS:
        prepare_set(folder, name, share)
        classes = SETS[name][0].classes
        vectors = np.random.default_rng(0).normal(size=(classes, EMBEDDING)).astype(np.float32)
        np.save(folder / f"{name}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def prepare_set(folder: Path, name: str, share: float) -> None:
    """Writes what is not there of one of `SETS`: photographs, the annotation file."""
    form, images = SETS[name]
    if not (folder / IMAGES).is_dir():
        make_photographs(folder, PHOTOGRAPHS)
    for photograph in range(PHOTOGRAPHS):
        place = folder / name / (form.name % {"photograph": photograph})
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.hardlink_to(folder / IMAGES / f"{photograph:04d}.jpg")
    if not (folder / f"{name}.json").exists():
        write(folder / f"{name}.making", round(images * share), form)
        (folder / f"{name}.making").rename(folder / f"{name}.json")


def propose(folder: Path) -> None:
    """Writes proposals of every image, drawn at random: half of it in each direction, anywhere."""
    random = np.random.default_rng(0)
    for name in SETS:
        columns = index_of(folder / f"{name}.json", print).columns
        keys = zip(columns["image.id"].tolist(), columns.texts("image.name"), strict=True)
        names = ImageNames.of((one, "/".join((folder / name / path).parts[-2:])) for one, path in keys)
        writer = Writer(folder / "proposals", name, names, "benchmark", "drawn at random")
        for first in range(writer.done, len(names), _AT_A_TIME):
            count = min(_AT_A_TIME, len(names) - first)
            smallest = np.min(SIZES)
            corners = random.uniform(0, smallest / 2, (count * PROPOSALS, 2))
            scores = -np.sort(-random.random((count, PROPOSALS)), axis=1).reshape(-1, 1)
            writer.append(first, np.full(count, PROPOSALS), np.hstack([corners, corners + smallest / 2, scores]))
        writer.finish()


def data_sets(folder: Path, scale: tuple[int, int], stage: int, names: tuple[str, ...] = tuple(SETS)) -> dict[str, Any]:
    """The config of the three sets in one, or of some of them."""
    pipeline = [
        {"type": "LoadImageFromFile"},
        *([{"type": "LoadProposals", "num_max_proposals": PROPOSALS}] if stage == 2 else []),
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "Resize", "scale": scale, "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PackDetInputs"},
    ]
    parts = [
        {
            "type": "CocoDataset",
            "ann_file": str(folder / f"{name}.json"),
            "data_prefix": {"img": str(folder / name)},
            "metainfo": {"classes": tuple(f"class_{one}" for one in range(1, SETS[name][0].classes + 1))},
            "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
            "pipeline": pipeline,
            **({"class_agnostic": True} if stage == 1 else {"proposal_file": str(folder / "proposals")}),
        }
        for name in names
    ]
    return {"type": "ConcatDataset", "datasets": parts}


class Tree:
    """The processes of a tree, from now on: CPU seconds, those of the ended included, and memory."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self._before, self.most = self._seconds(), 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()

    def read(self) -> Figures:
        """CPU seconds, and memory in MB; ends the measurement."""
        self._over.set()
        self._watch.join()
        self.most = max(self.most, self._memory())
        return {"cpu": self._seconds() - self._before, "memory": self.most / _MEGABYTE}

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self.most = max(self.most, self._memory())

    def _seconds(self) -> float:
        return sum(sum(one.cpu_times()[:4]) for one in _processes(self._root))

    def _memory(self) -> int:
        return _memory(self._root)


def _processes(root: psutil.Process) -> list[psutil.Process]:
    return [one for one in (root, *root.children(recursive=True)) if one.is_running()]


def _memory(root: psutil.Process) -> int:
    """Bytes of all processes of a tree, a page that several have counted once."""
    return sum(_proportional(one.pid) for one in _processes(root))


def _proportional(process: int) -> int:
    try:
        return numbers(f"/proc/{process}/smaps_rollup", "Pss")[0]
    except OSError:  # it has ended
        return 0


def starts(folder: Path, workers: int, stages: list[tuple[str, int]]) -> dict[str, Figures]:
    """HELLO to the first batch, for each of `stages` (a title and a stage); the server is there and has its libraries
    before the first."""
    found = {}
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        _served(Path(directory), workers) as (at, server),
    ):
        make_photographs(Path(directory, "few"), 4)
        open_stream(at, server, _hello(_of_few(Path(directory, "few")))).close()
        for title, stage in stages:
            _wait_for_the_end_of_the_last(server.pid)
            tree = Tree(server.pid)
            stream = open_stream(at, server, _hello(data_sets(folder, (1333, 800), stage)))
            stream.next().release()
            found[title] = tree.read()
            stream.close()
    return found


def second_rank(folder: Path, workers: int) -> dict[str, Figures]:
    """MB that the second rank of a training takes on a host; see the module's text."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        _served(Path(directory), workers) as (at, server),
    ):
        streams, memory = [], []
        for rank in range(2):
            stream = open_stream(at, server, _hello(data_sets(folder, (1333, 800), 1), rank, 2))
            for _ in range(2 * stream.welcome.slots):  # by then each has been written
                stream.next().release()
            memory.append(_memory(psutil.Process(server.pid)))
            streams.append(stream)
        for stream in streams:
            stream.close()
    slots = stream.welcome.slots * stream.welcome.slot_bytes
    index = sum(one.stat().st_size for one in (folder / "cache").rglob("*") if one.is_file())
    sizes = {"memory": memory[1] - memory[0], "slots": slots, "index": index}
    return {"second rank": {name: size / _MEGABYTE for name, size in sizes.items()}}


@contextlib.contextmanager
def _served(directory: Path, workers: int) -> Iterator[tuple[Address, subprocess.Popen]]:
    address = Address(f"ipc://{directory}/feed")
    command = [sys.executable, "-m", "data_server", "--workers", str(workers), "--listen", address.text]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_limited)
    try:
        yield address, server
    finally:
        server.terminate()
        server.wait()


def _wait_for_the_end_of_the_last(server: int) -> None:
    """Its processes' seconds would be missing later."""
    while len(psutil.Process(server).children(recursive=True)) > 1:  # the root nursery stays
        time.sleep(_LOOK_SECONDS / 10)


def _of_few(folder: Path) -> dict[str, Any]:
    few = data_sets(folder, (192, 144), 1, ("coco",))["datasets"][0]
    own = {"ann_file": str(folder / "annotations.json"), "data_prefix": {"img": str(folder / IMAGES)}}
    return few | own | {"metainfo": {"classes": ("thing",)}}


def _hello(dataset: dict[str, Any], rank: int = 0, ranks: int = 1) -> Hello:
    loader = {
        "batch_size": BATCH_SIZE,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_sampler": {"type": "AspectRatioBatchSampler"},
        "dataset": dataset,
    }
    part = data_part(Config({"train_dataloader": loader, "model": {}}), "train")
    return Hello("train", part, 0, rank, ranks, 0, 0, 0, CREDITS)


def training(folder: Path, stage: int, steps: int, workers: int) -> Figures:
    """What `steps` steps take, start included. Raises SystemExit where they fail."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        config = Path(directory, f"stage_{stage}.py")
        config.write_text(_config(folder, stage, steps))
        command = [sys.executable, "-m", "trainer", "train", "--config", str(config), "--workers", str(workers)]
        began = time.perf_counter()
        trainer = subprocess.Popen(
            [*command, "--work-dir", f"{directory}/work"], cwd=REPOSITORY, preexec_fn=_limited, stdout=sys.stderr
        )
        tree = Tree(trainer.pid)
        while os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(_LOOK_SECONDS)
        found = tree.read()
        if trainer.wait():
            raise SystemExit(f"stage {stage} ended with code {trainer.returncode}")
        return found | {"seconds": time.perf_counter() - began}


def _config(folder: Path, stage: int, steps: int) -> str:
    base = REPOSITORY / "configs" / "demo" / ("cln.py" if stage == 1 else "stage_2.py")
    settings: dict[str, Any] = {
        "train_dataloader": {
            "batch_size": TRAINED,
            "dataset": {"_delete_": True, **data_sets(folder, (192, 144), stage)},
        },
        "train_cfg": {"_delete_": True, "type": "IterBasedTrainLoop", "max_iters": steps, "val_interval": steps + 1},
        "param_scheduler": [],
        "default_hooks": {
            "checkpoint": {"_delete_": True, "type": "CheckpointHook", "by_epoch": False, "interval": steps}
        },
        **dict.fromkeys(("val_dataloader", "val_evaluator", "test_dataloader", "test_evaluator")),
    }
    if stage == 2:
        paths = [str(folder / f"{name}.npy") for name in SETS]
        classes = max(form.classes for form, _ in SETS.values())
        settings["model"] = {"roi_head": {"bbox_head": {"num_classes": classes, "zeroshot_path": paths}}}
    return "\n".join([f"_base_ = [{str(base)!r}]", *(f"{key} = {value!r}" for key, value in settings.items())]) + "\n"


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))


def measure(folder: Path, share: float, steps: int, workers: int) -> dict[str, Figures]:
    """All figures, by what they are of."""
    prepare(folder, share)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    found: dict[str, Figures] = {}

    def tell(figures: dict[str, Figures]) -> None:
        found.update(figures)
        shown(figures)

    tell(starts(folder, workers, [("first start", 1)]))
    propose(folder)
    stages = [("second start", 1), ("first start with proposals", 2), ("second start with proposals", 2)]
    tell(starts(folder, workers, stages))
    tell(second_rank(folder, workers))
    for stage in (1, 2):
        tell({f"stage {stage}, {steps} steps": training(folder, stage, steps, workers)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.three_sets", description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the images (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="of each stage (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=4, help="of the data server (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where files are written, 13 GB, and stay")
    options = parser.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-three-sets-") as temporary:
        folder = options.folder or Path(temporary)
        found = measure(folder.resolve(), options.share, options.steps, options.workers)
    write_results(RESULTS / "three_sets.json", {"machine": about, "share": options.share, "figures": found})


if __name__ == "__main__":
    main()
