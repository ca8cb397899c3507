"""Training steps at full size on the stand-in for a card, as figures: ``python -m tests.cuda_standin.process
tests.cuda_standin.steps STAGE STEPS [in-order] [float16]`` prints a line of JSON for each step.

The networks are the paper's, batches are two images of the sizes that Resize((1333, 800)) makes, in another order each
time round, with 5 to 61 boxes. A step is the training loop's: uploads, graph, the read of the step before, execution.
After each round a batch is evaluated. A last line names the kernels that ran on the CPU, and those that added floats in
any order, of which there are none `in-order`; with `float16` it trains in half precision.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks.cases import OPTIMIZER, PROPOSALS, Case
from shared.batch import BOX_MULTIPLE, blank_arrays, padded
from tests.cuda_standin import card
from trainer.batch import Batch
from trainer.device import device_memory, jt, nn
from trainer.device.in_order import begin
from trainer.device.mode import Mode
from trainer.models import build_detector
from trainer.training.guards import memory_advised
from trainer.training.optimizer import build_optimizer
from trainer.training.terms import packed, total_loss

IMAGES = 2
SIZES = (
    (800, 1088),
    (800, 1216),
    (1216, 800),
    (608, 1344),
    (768, 1344),
    (1088, 800),
    (1344, 768),
    (800, 1056),
    (800, 1344),
)
ROIS = 512  # of each image, as in the configs
IN_ORDER, HALF = "in-order", "float16"


def sizes(steps: int) -> list[tuple[int, int]]:
    """The height and width of each step's batch: all sizes once, then again in another order."""
    generator = np.random.default_rng(0)
    rounds = -(-steps // len(SIZES))
    order = [*range(len(SIZES)), *(i for _ in range(rounds - 1) for i in generator.permutation(len(SIZES)))]
    return [SIZES[i] for i in order[:steps]]


def batch(case: Case, height: int, width: int, number: int) -> Batch:
    """A batch of grey images with boxes and, in stage 2, proposals."""
    random = np.random.default_rng(number)
    most = 5 + 7 * (number % 9)
    boxes, proposals = padded(most, BOX_MULTIPLE), PROPOSALS if case.stage == 2 else 0
    arrays = blank_arrays(case.images, height, width, boxes, proposals)
    arrays["box_counts"][:] = random.integers(1, most + 1, case.images)
    arrays["labels"][:] = random.integers(0, case.classes, arrays["labels"].shape)
    for name in ("boxes", "proposals")[: 1 + bool(proposals)]:
        corners = random.uniform(0, 0.6, (*arrays[name].shape[:2], 2))
        ends = corners + random.uniform(0.02, 0.4, corners.shape)
        arrays[name][..., :4] = np.concatenate([corners, ends], 2) * [width, height, width, height]
    if proposals:
        arrays["proposal_counts"][:] = proposals
    return Batch.from_arrays(arrays, step=number)


def model_config(case: Case) -> dict[str, Any]:
    """The network of `case`."""
    config = case.model(Path(tempfile.mkdtemp()))
    if case.stage == 2:
        config["train_cfg"]["rcnn"]["sampler"]["num"] = ROIS
    return config


# What adds, but floats in no other order from run to run: counters of boxes, which are integers, and a kernel of
# RoIAlign's that is in the source of its other calls.
INTEGERS = re.compile(r"atomicAdd\((&(available|others), 1|total, found)\)")
ROI_ALIGN = re.compile(r"atomicAdd\((low|high) \+ x\.")


def loaded() -> dict[str, str]:
    """The sources of the kernels loaded so far, by name."""
    folder = f"{Path(jt.flags.cache_path, 'jit')}/"
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    paths = {Path(line.split(maxsplit=5)[-1]) for line in lines if folder in line}
    return {path.name: path.with_suffix(".cc").read_text(encoding="utf-8") for path in paths}


def on_the_cpu() -> list[str]:
    """The names of the kernels loaded so far that compute on the CPU; not of that which compiles others in order."""
    sources = loaded().items()
    return sorted(name for name, source in sources if "#define JIT_cpu 1" in source and "in_order::" not in source)


def in_any_order() -> list[str]:
    """The names of the kernels loaded so far that add, multiply or write what depends on which thread comes first; the
    largest and the smallest of numbers do not."""
    found = []
    for name, source in loaded().items():
        if "#define JIT_cpu 1" in source:
            continue
        left = INTEGERS.sub("", source)
        if "roi_align::backward(" not in left:
            left = ROI_ALIGN.sub("", left)
        if re.search(r"atomic(?!Max|Min)[A-Z]\w*\(|cuda_atomic_mul\(", left):
            found.append(name)
    return sorted(found)


def evaluate(model: nn.Module, one: Batch) -> card.Counts:
    """What an evaluation of one batch, between two rounds, asks of the card."""
    before = card.counts()
    model.eval()
    with jt.no_grad():
        model.predict(one)
    model.train()
    counts = card.since(before)
    jt.gc()  # as after an evaluation
    return counts


def main(stage: str, steps: str, *ways: str) -> None:
    begin(Mode(deterministic=IN_ORDER in ways))
    case = Case(int(stage), True, IMAGES, 0, 0, 1 if stage == "1" else 1203)
    model = build_detector(model_config(case))
    model.train()
    wrapper = OPTIMIZER
    if HALF in ways:
        model.trains_in, wrapper = HALF, OPTIMIZER | {"type": "AmpOptimWrapper"}
    optimizer = build_optimizer(wrapper, model)
    jt.sync_all()
    unread: jt.Var | None = None
    for number, (height, width) in enumerate(sizes(int(steps))):
        before = card.counts()
        one = batch(case, height, width, number)
        with memory_advised(one):
            terms = model.loss(one)
            values = packed([*terms.values(), optimizer.step(total_loss(terms))])
            del terms
            if unread is not None:
                unread.numpy()
            unread = values
            jt.sync_all()
        optimizer.keep()
        figures = {"step": number, "height": height, "width": width, "jittor": device_memory(), **card.since(before)}
        print(json.dumps(figures), flush=True)
        if not (number + 1) % len(SIZES):
            print(json.dumps({"evaluation": evaluate(model, one)}), flush=True)
    print(json.dumps({"on_the_cpu": on_the_cpu(), "in_any_order": in_any_order()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
