"""The CUDA side of every operator, as far as that goes without a GPU: it computes what the CPU side computes when its
threads take turns on one core, and it compiles wherever there is an nvcc.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.trainer.models.ops.cuda_sources import program, record, run
from tests.trainer.models.ops.test_soft_nms import scene
from trainer.device import jt, var
from trainer.models.boxes import assign, sample
from trainer.models.ops import nms, roi_align, soft_nms

TABLE, SCORES = scene(90, 6)
SCORES[:, 5] *= 9e-4  # a class below soft-NMS's floor
IMAGES = var(np.stack([TABLE, scene(90, 1, seed=1)[0]]))
BEST = var(np.stack([SCORES[:, 0], SCORES[:, 1]]))


def assign_some() -> list:
    truths = IMAGES[:, :8] + 2.0
    valid = var(np.random.default_rng(0).random((2, 90)) < 0.9)
    return [assign.MaxIoUAssigner(0.5, 0.3, 0.3)(IMAGES, valid, truths, var([8, 3], "int32"))]


def sample_some() -> list:
    generator = np.random.default_rng(0)
    sampler = sample.RandomSampler(24, 0.25)
    sampler.keys = lambda shape: var(np.random.default_rng(1).random(shape), "float32")
    samples = sampler(var(generator.integers(-1, 3, (2, 90)), "int32"))
    return [
        samples.index,
        samples.positive,
        samples.weight,
        samples.truth,
        samples.positives,
        samples.negatives,
    ]


def pick_softly(split: int) -> list:
    picks = soft_nms.soft_nms(var(TABLE[:30]), var(SCORES[:30]), 1e-4, 180, split_threshold=split)
    return [picks.rows, picks.labels, picks.scores, picks.count]


def pick_hard() -> list:
    picks = soft_nms.hard_nms_of_classes(var(TABLE), var(SCORES), 0.1, 200, 0.5)
    return [picks.rows, picks.labels, picks.scores, picks.count]


def align() -> tuple[list, jt.Var]:
    generator = np.random.default_rng(0)
    maps = [var(generator.standard_normal((2, 3, 60 // 2**i, 80 // 2**i)), "float32") for i in range(4)]
    rois = jt.concat([var(np.arange(90)[:, None] % 2, "float32"), var(TABLE)], 1)
    # A box with negative sides, one without area, one outside, one without a level.
    rois[:3] = var([[0, 60, 50, 30, 20], [1, 9, 9, 9, 40], [0, 900, 900, 950, 990]], "float32")
    levels = var((np.arange(90) % 5) - 1, "int32")
    return maps, roi_align.roi_align(maps, [8, 16, 32, 64], rois, levels, 7)


def align_and_differentiate() -> list:
    maps, features = align()
    weights = var(np.random.default_rng(1).standard_normal(features.shape), "float32")
    return jt.grad((features * weights).sum(), maps)


OPERATORS: dict[str, tuple[ModuleType, Callable[[], list]]] = {
    "assign": (assign, assign_some),
    "sample": (sample, sample_some),
    "nms": (nms, lambda: list(nms.nms(IMAGES, BEST, 0.5, 0.1, 40))),
    "soft_nms together": (soft_nms, lambda: pick_softly(10**6)),
    "soft_nms by class": (soft_nms, lambda: pick_softly(0)),
    "hard_nms_of_classes": (soft_nms, pick_hard),
    "roi_align": (roi_align, lambda: [align()[1]]),
    "roi_align's gradient": (roi_align, align_and_differentiate),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_cuda_source_computes_what_the_cpu_source_does(
    operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, call = OPERATORS[operator]
    expected = [output.numpy() for output in call()]
    found = run(record(module, call, monkeypatch)[-1], tmp_path)
    for output, other in zip(found, expected, strict=False):  # behind them is working memory
        # Integers are equal; sums are made in another order, divisions and exponentials differ in their last bits.
        np.testing.assert_allclose(output, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: CUDA sources are not compiled")
@pytest.mark.parametrize("operator", ["assign", "sample", "nms", "soft_nms by class", "roi_align's gradient"])
def test_the_cuda_source_compiles(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, recorded in enumerate(record(*OPERATORS[operator], monkeypatch)):
        source = tmp_path / f"{i}.cu"
        source.write_text(program(recorded, "#include <cuda_runtime.h>\n"))
        # Checked down to PTX, which needs no choice of a GPU.
        command = ["nvcc", "--ptx", "-std=c++17", "--use_fast_math", "-o", str(source.with_suffix(".ptx")), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
