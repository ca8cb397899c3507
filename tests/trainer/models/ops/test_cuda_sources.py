"""The CUDA side of every operator, as far as that goes without a GPU: it computes what the CPU side computes when its
threads take turns on one core, and it compiles wherever there is an nvcc.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.trainer.models.ops.cuda_sources import CUDNN_HEADER, closeness, function, record, run, unit
from tests.trainer.models.ops.random_calls import CALLS, after_a_step, follow_gradients
from tests.trainer.models.ops.test_soft_nms import scene
from trainer.device import jt, nn, var
from trainer.models import checkpointing
from trainer.models.boxes import anchors, assign, columns, sample
from trainer.models.layers import Convolution
from trainer.models.ops import (
    average_pool,
    convolution,
    fixed_norm,
    nms,
    random_keys,
    roi_align,
    soft_nms,
    top_k,
    unit_features,
)
from trainer.models.ops.random_keys import Draw, Use
from trainer.training import loss_scale, update

TABLE, SCORES = scene(90, 6)
SCORES[:, 5] *= 9e-4  # a class below soft-NMS's floor
IMAGES = var(np.stack([TABLE, scene(90, 1, seed=1)[0]]))
BEST = var(np.stack([SCORES[:, 0], SCORES[:, 1]]))


def assign_some() -> list:
    truths = IMAGES[:, :8] + 2.0
    valid = var(np.random.default_rng(0).random((2, 90)) < 0.9)
    return [assign.MaxIoUAssigner(0.5, 0.3, 0.3)(IMAGES, valid, truths, var([8, 3], "int32"))]


def keep_largest() -> list:
    values = np.random.default_rng(0).integers(-9, 9, (2, 5000)).astype(np.float32)
    return [top_k.top_k_of_levels(var(values), [4300, 300, 400], 300)]


def sample_some() -> list:
    generator = np.random.default_rng(0)
    sampler = sample.RandomSampler(24, 0.25)
    sampler.keys = lambda _, shape: var(np.random.default_rng(1).random(shape), "float32")
    samples = sampler(var(generator.integers(-1, 3, (2, 90)), "int32"), Draw(0, 0, Use.ROIS))
    return [
        samples.index,
        samples.positive,
        samples.weight,
        samples.truth,
        samples.positives,
        samples.negatives,
    ]


def draw_keys() -> list:
    """Rows of more than a block of threads, and no multiple of four."""
    return [random_keys.random_keys(Draw(2**32 - 1, 90_000, Use.ROIS), (2, 2051))]


def suppress_many() -> list:
    """More candidates than the walk looks at together."""
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 900, (1, 1500, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(10, 90, corners.shape)], 2)
    return list(nms.nms(var(boxes, "float32"), var(generator.random((1, 1500)), "float32"), 0.3, 0.1, 1200))


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


def gather() -> list:
    """A row that is picked twice, by chance, and one that is not."""
    generator = np.random.default_rng(0)
    values, index = (
        var(generator.standard_normal((2, 70, 6)), "float32"),
        var(generator.integers(0, 70, (2, 90)), "int32"),
    )
    weights = var(generator.standard_normal((2, 90, 6)), "float32")
    return [jt.grad((columns.gather_rows(values, index) * weights).sum(), values)]


def update_parameters(algorithm: type, **settings: object) -> list:
    """Parameters and buffers after a step; shapes that fill no, one and several blocks of threads."""
    generator = np.random.default_rng(0)
    parameters = [var(generator.standard_normal(shape), "float32") for shape in ((3,), (40, 300), (2, 3, 5, 7))]
    return after_a_step(generator, parameters, algorithm, **settings)


def move_averages() -> list:
    generator = np.random.default_rng(0)
    averages, weights = (
        [var(generator.standard_normal(shape), "float32") for shape in ((3,), (40, 300), (2, 3, 5, 7))]
        for _ in range(2)
    )
    update.blend(averages, weights, 0.2)
    return averages


def norm_of_gradients(power: float = 2.0) -> list:
    generator = np.random.default_rng(0)
    gradients = [var(generator.standard_normal(shape), "float32") for shape in ((3,), (40, 300), (2, 3, 5, 7))]
    return [update.gradient_norm(gradients, power)]


MANY = [(1 + 7 * i % 50, 3) for i in range(99)] + [
    (3, 5000),
    (4096,),
    (4097,),
]  # several launches, rows of several blocks


def norm_of_many_gradients() -> list:
    generator = np.random.default_rng(0)
    return [update.gradient_norm([var(generator.standard_normal(shape), "float32") for shape in MANY])]


def update_many() -> list:
    generator = np.random.default_rng(0)
    parameters, gradients, momenta = (
        [var(generator.standard_normal(shape), "float32") for shape in MANY[-update.ROWS :]] for _ in range(3)
    )
    rows = [([p, m], g) for p, m, g in zip(parameters, momenta, gradients, strict=True)]
    numbers = {"max_norm": 2.0, "limit": 0.3, "rate": 0.1, "decay": 0.1, "momentum": 0.9}
    numbers |= {"dampening": 0.2, "nesterov": 0.0}
    update._update(rows, var([3.0], "float32"), "SGD", numbers)
    return [variable for pair in zip(parameters, momenta, strict=True) for variable in pair]


def make_anchors() -> list:
    generator = anchors.AnchorGenerator([1, 2], [0.5, 1.0], [8, 16])
    return list(generator([(9, 7), (5, 4)], var([[70, 50], [40, 60]], "float32")))


def normalise(adds: bool, differentiate: bool, dtype: str = "float32") -> list:
    generator = np.random.default_rng(0)
    x, shortcut, weights = (var(generator.standard_normal((2, 5, 6, 70)), dtype) for _ in range(3))
    weight, bias, mean = (var(generator.standard_normal(5), "float32") for _ in range(3))
    variance = var(generator.uniform(0.5, 2, 5), "float32")
    y = fixed_norm.fixed_norm(x, weight, bias, mean, variance, 1e-5, shortcut if adds else None, with_relu=True)
    leaves = [x, weight, bias, *([shortcut] if adds else [])]
    return jt.grad((y * weights).sum(), leaves) if differentiate else [y]


def make_unit_features(differentiate: bool) -> list:
    generator = np.random.default_rng(0)
    x, weights = (var(generator.standard_normal((2, 5, 6, 70)), "float32") for _ in range(2))
    bias = var(generator.standard_normal(5), "float32")
    y = unit_features.unit_features(x, bias)
    return jt.grad((y * weights).sum(), [x, bias]) if differentiate else [y]


def pool(differentiate: bool, dtype: str = "float32") -> list:
    generator = np.random.default_rng(0)
    x = var(generator.standard_normal((2, 3, 9, 14)), dtype)
    y = average_pool.average_pool(x)
    weights = var(generator.standard_normal(y.shape), dtype)
    return jt.grad((y * weights).sum(), [x]) if differentiate else [y]


def convolve(inputs: tuple[int, ...], weights: tuple[int, ...], stride: int, differentiate: bool) -> list:
    generator = np.random.default_rng(0)
    x, weight = (var(generator.standard_normal(shape), "float32") for shape in (inputs, weights))
    y = convolution.convolve(x, weight, stride=stride, padding=weights[2] // 2)
    cotangent = var(generator.standard_normal(y.shape), "float32")
    return jt.grad((y * cotangent).sum(), [weight, x]) if differentiate else [y]


def differentiate_checkpointed() -> list:
    """The gradient of a convolution alone, behind the copy of its input."""
    generator = np.random.default_rng(0)
    x = var(generator.standard_normal((2, 3, 5, 7)), "float32").start_grad()
    y = checkpointing.checkpointed(nn.Sequential(Convolution(3, 4, 3)), x)
    jt.grad((y * y).sum(), [x])
    return [x]


OPERATORS: dict[str, tuple[ModuleType, Callable[[], list]]] = {
    "anchors": (anchors, make_anchors),
    "SGD": (update, lambda: update_parameters(update.SGD, momentum=0.9, dampening=0.2)),
    "Adam": (update, lambda: update_parameters(update.Adam)),
    "AdamW": (update, lambda: update_parameters(update.AdamW)),
    "AMSGrad": (update, lambda: update_parameters(update.AdamW, amsgrad=True)),
    "average of weights": (update, move_averages),
    "norm of gradients": (update, norm_of_gradients),
    "L3 norm of gradients": (update, lambda: norm_of_gradients(3.0)),
    "largest of gradients": (update, lambda: norm_of_gradients(np.inf)),
    "SGD of many rows": (update, update_many),
    "norm of many gradients": (update, norm_of_many_gradients),
    "assign": (assign, assign_some),
    "sample": (sample, sample_some),
    "top_k": (top_k, lambda: [top_k.top_k(var(np.arange(5000.0)[None] % 7, "float32"), 4096)]),
    "top_k of levels": (top_k, keep_largest),
    "random keys": (random_keys, draw_keys),
    "nms": (nms, lambda: list(nms.nms(IMAGES, BEST, 0.5, 0.1, 40))),
    "nms of many": (nms, suppress_many),
    "soft_nms together": (soft_nms, lambda: pick_softly(10**6)),
    "soft_nms by class": (soft_nms, lambda: pick_softly(0)),
    "hard_nms_of_classes": (soft_nms, pick_hard),
    "norm": (fixed_norm, lambda: normalise(False, False)),
    "norm with shortcut": (fixed_norm, lambda: normalise(True, False)),
    "norm's gradient": (fixed_norm, lambda: normalise(False, True)),
    "norm with shortcut's gradient": (fixed_norm, lambda: normalise(True, True)),
    "unit features": (unit_features, lambda: make_unit_features(False)),
    "unit features' gradient": (unit_features, lambda: make_unit_features(True)),
    "average pool": (average_pool, lambda: pool(False)),
    "average pool's gradient": (average_pool, lambda: pool(True)),
    "norm in half": (fixed_norm, lambda: normalise(True, False, "float16")),
    "norm's gradient in half": (fixed_norm, lambda: normalise(True, True, "float16")),
    "average pool in half": (average_pool, lambda: pool(False, "float16")),
    "average pool's gradient in half": (average_pool, lambda: pool(True, "float16")),
    "loss scale": (loss_scale, lambda: follow_gradients(np.random.default_rng(0))),
    "convolution": (convolution, lambda: convolve((2, 3, 9, 14), (5, 3, 3, 3), 2, False)),
    "convolution's gradient": (convolution, lambda: convolve((2, 3, 9, 14), (5, 3, 3, 3), 2, True)),
    "product's gradient": (convolution, lambda: convolve((2, 4, 5, 7), (6, 4, 1, 1), 1, True)),
    "checkpointing's copy": (checkpointing, differentiate_checkpointed),
    "roi_align": (roi_align, lambda: [align()[1]]),
    "roi_align's gradient": (roi_align, align_and_differentiate),
    "roi_align's gradient in order": (roi_align, align_and_differentiate),
    "gather_rows' gradient in order": (columns, gather),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_cuda_source_computes_what_the_cpu_source_does(
    operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, call = OPERATORS[operator]
    expected = [output.numpy() for output in call()]
    found = run(record(module, call, monkeypatch, operator.endswith("in order"))[-1], tmp_path)
    for output, other in zip(found, expected, strict=False):  # behind them is working memory
        # Integers are equal; sums are made in another order, divisions and exponentials differ in their last bits.
        close = closeness(other)
        np.testing.assert_allclose(output, other, rtol=close, atol=close * np.abs(other).max())


@pytest.mark.parametrize("operator", CALLS)
def test_shapes_do_not_matter(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EMULATED random ones of each; ``make emulate`` takes 1,000."""
    module, call = CALLS[operator]
    for seed in range(int(os.environ.get("EMULATED", "1"))):
        expected = [output.numpy() for output in call(np.random.default_rng(seed))]
        again = lambda seed=seed: call(np.random.default_rng(seed))  # noqa: E731
        found = run(record(module, again, monkeypatch, operator.endswith("in order"))[-1], tmp_path)
        for output, other in zip(found, expected, strict=False):  # behind them is working memory
            assert output.shape == other.shape
            close = max(closeness(output), closeness(other))  # on a CPU, numbers of float16 may be in float32
            tolerance = close * max(np.abs(other).max(initial=0), 1e-30)
            np.testing.assert_allclose(output, other, rtol=close, atol=tolerance, err_msg=f"seed {seed}")


WIDE = [name for name in OPERATORS if name.startswith(("norm with", "norm's", "unit", "average"))] + ["norm"]


@pytest.mark.parametrize("operator", WIDE)
def test_arrays_too_large_to_count_by_32_bits_are_computed_by_64(
    operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, call = OPERATORS[operator]
    expected = [output.numpy() for output in call()]
    found = run(record(module, call, monkeypatch)[-1], tmp_path, wide=True)
    for output, other in zip(found, expected, strict=False):
        close = closeness(other)
        np.testing.assert_allclose(output, other, rtol=close, atol=close * np.abs(other).max())


def test_a_division_by_a_reciprocal_does_not_change_how_many_samples_a_bin_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RoIs of whole cells: k + tiny is one sample more than k. For 39 of these 63 sizes x * (1 / 7) is above k."""
    sizes = 7 * np.arange(1, 64)
    rois = np.stack([0 * sizes, 16 + 0 * sizes, 12 + 0 * sizes, 16 + 4 * sizes, 12 + 4 * sizes[::-1]], 1)
    feature_map = var(np.random.default_rng(0).standard_normal((1, 1, 448, 448)), "float32")
    sought = [feature_map], [4], var(rois, "float32"), var(np.zeros(63), "int32"), 7
    expected = roi_align.roi_align(*sought).numpy()
    recorded = record(roi_align, lambda: roi_align.roi_align(*sought), monkeypatch)[-1]
    found = run(recorded, tmp_path, fast_division=True)[0]
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("size", [7, 14])
def test_a_thousand_rois_of_whole_pixels_have_the_cpus_samples_on_every_level(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(size)
    maps = [var(generator.standard_normal((2, 1, 256 // 2**i, 320 // 2**i)), "float32") for i in range(4)]
    corners = generator.integers(-20, 900, (1000, 2))
    extents = generator.integers(1, 700, (1000, 2)) * generator.choice([1, size], (1000, 1))
    rois = np.concatenate([generator.integers(0, 2, (1000, 1)), corners, corners + extents], 1)
    sought = maps, [4, 8, 16, 32], var(rois, "float32"), var(generator.integers(0, 4, 1000), "int32"), size
    expected = roi_align.roi_align(*sought).numpy()
    recorded = record(roi_align, lambda: roi_align.roi_align(*sought), monkeypatch)[-1]
    found = run(recorded, tmp_path, fast_division=True)[0]
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: CUDA sources are not compiled")
@pytest.mark.parametrize("gpu", ["sm_80", "sm_90", "sm_100"])
def test_the_cuda_sources_compile_with_their_calls_and_spill_no_register(
    gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A100, H100, B200."""
    known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    if gpu not in known:
        pytest.skip(f"this nvcc does not know {gpu}")
    calls = {
        (recorded.header, recorded.source): recorded
        for name, (module, call) in OPERATORS.items()
        if "many" not in name  # the same kernels
        for recorded in record(module, call, monkeypatch, name.endswith("in order"))
    }
    headers = dict.fromkeys(header for header, _ in calls)
    functions = [function(recorded, f"run_{i}") for i, recorded in enumerate(calls.values())]
    (tmp_path / "all.cu").write_text(unit(headers, "#include <cuda_fp16.h>\n") + "".join(functions))
    options = ("-std=c++17", "-w", "-Xptxas", "-v", f"-arch={gpu}", f"-I{CUDNN_HEADER}")
    done = subprocess.run(["nvcc", "-c", *options, "all.cu"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spilt = re.findall(r"(\d+) bytes spill stores", done.stderr)
    assert len(spilt) >= len(headers) and set(spilt) == {"0"}, done.stderr
