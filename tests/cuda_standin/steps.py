"""Training steps at full size on the stand-in for a card, as figures: ``python -m tests.cuda_standin.process
tests.cuda_standin.steps STAGE STEPS [in-order] [float16]`` prints a line of JSON for each step.

The steps are those of tests.full_size; after each round of sizes a batch is evaluated. A last line names the kernels
that ran on the CPU, and those that added floats in any order, of which there are none `in-order`; with `float16` it
trains in half precision.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tests.cuda_standin import card
from tests.full_size import SIZES, Training, sizes
from trainer.batch import Batch
from trainer.device import device_memory, jt, nn
from trainer.device.in_order import begin
from trainer.device.mode import Mode

IN_ORDER, HALF = "in-order", "float16"

# What adds, but floats in no other order from run to run: counters of boxes and of values, which are integers, and a
# kernel of RoIAlign's that is in the source of its other calls.
INTEGERS = re.compile(r"atomicAdd\((&(available|others), 1|total, found|&(found|counts\[.*?\]), 1u)\)")
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
    training = Training(int(stage), HALF if HALF in ways else None)
    for number, (height, width) in enumerate(sizes(int(steps))):
        before = card.counts()
        one = training.step(number, height, width)
        figures = {"step": number, "height": height, "width": width, "jittor": device_memory(), **card.since(before)}
        print(json.dumps(figures), flush=True)
        if not (number + 1) % len(SIZES):
            print(json.dumps({"evaluation": evaluate(training.model, one)}), flush=True)
    print(json.dumps({"on_the_cpu": on_the_cpu(), "in_any_order": in_any_order()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
