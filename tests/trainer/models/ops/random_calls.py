"""Calls of every operator that has a CUDA source, with shapes and values that a generator draws."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from tests.trainer.models.ops.test_soft_nms import scene
from trainer.device import jt, var
from trainer.models.boxes import anchors, assign, columns, sample
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

Generator = np.random.Generator


def _numbers(generator: Generator, *shape: int, dtype: str = "float32") -> jt.Var:
    return var(generator.standard_normal(shape), dtype)


def _maps(generator: Generator) -> tuple[int, int, int, int]:
    """Shapes that do and do not fill blocks of threads, and rows that are no multiple of four."""
    images, channels, height, width = generator.integers(1, (4, 40, 24, 70), endpoint=True)
    return int(images), int(channels), int(height), int(width)


def _weighted_gradient(generator: Generator, y: jt.Var, leaves: list[jt.Var]) -> list[jt.Var]:
    return jt.grad((y.float32() * _numbers(generator, *y.shape)).sum(), leaves)


def normalise(generator: Generator, differentiates: bool, dtype: str = "float32") -> list[jt.Var]:
    shape = _maps(generator)
    x = _numbers(generator, *shape, dtype=dtype)
    shortcut = _numbers(generator, *shape, dtype=dtype) if generator.random() < 0.5 else None
    weight, bias, mean = (_numbers(generator, shape[1]) for _ in range(3))
    variance = var(generator.uniform(0.5, 2, shape[1]), "float32")
    y = fixed_norm.fixed_norm(
        x, weight, bias, mean, variance, 1e-5, shortcut, with_relu=shortcut is not None or generator.random() < 0.5
    )
    leaves = [x, weight, bias, *([] if shortcut is None else [shortcut])]
    return _weighted_gradient(generator, y, leaves) if differentiates else [y]


def make_unit_features(generator: Generator, differentiates: bool) -> list[jt.Var]:
    """A cell is empty, or its length is not tiny and not that of one number alone: its gradient would be rounding and
    nothing else."""
    images, channels, height, width = _maps(generator)
    kept = generator.uniform(0.25, 2, (images, channels + 1, height, width))
    kept[:, 2:] *= generator.choice([-1, 1], kept[:, 2:].shape)
    kept = np.where(generator.random((images, 1, height, width)) < 0.1, -np.abs(kept), kept)
    bias = generator.standard_normal(channels + 1)
    x, bias = var(kept - bias[:, None, None], "float32"), var(bias, "float32")
    y = unit_features.unit_features(x, bias)
    return _weighted_gradient(generator, y, [x, bias]) if differentiates else [y]


def pool(generator: Generator, differentiates: bool, dtype: str = "float32") -> list[jt.Var]:
    images, channels, height, width = _maps(generator)
    x = _numbers(generator, images, channels, height + 1, width + 1, dtype=dtype)
    y = average_pool.average_pool(x)
    return _weighted_gradient(generator, y, [x]) if differentiates else [y]


def convolve(generator: Generator, differentiates: bool, dtype: str = "float32") -> list[jt.Var]:
    size, stride = int(generator.choice([1, 3, 7])), int(generator.choice([1, 2]))
    images, inputs, outputs, height, width = (int(n) for n in generator.integers(1, (3, 18, 18, 12, 15), endpoint=True))
    x = _numbers(generator, images, inputs, height, width, dtype=dtype)
    weight = _numbers(generator, outputs, inputs, size, size)
    y = convolution.convolve(x, weight, stride=stride, padding=size // 2)
    return _weighted_gradient(generator, y, [weight, x]) if differentiates else [y]


def align(generator: Generator, differentiates: bool) -> list[jt.Var]:
    """Half of the calls have RoIs of whole cells: k + tiny is one sample more than k."""
    size = int(generator.choice([7, 14]))
    images, channels, number = (int(n) for n in generator.integers(1, (3, 3, 60), endpoint=True))
    height, width = (int(8 * n) for n in generator.integers(2, (20, 24), endpoint=True))
    maps = [_numbers(generator, images, channels, height // 2**i, width // 2**i) for i in range(4)]
    if generator.random() < 0.5:
        corners = generator.integers(-20, 200, (number, 2))
        extents = generator.integers(1, 60, (number, 2)) * generator.choice([1, size], (number, 1))
    else:
        corners = generator.uniform(-40, 400, (number, 2))
        extents = generator.uniform(-9, 300, (number, 2))
    rois = np.concatenate([generator.integers(0, images, (number, 1)), corners, corners + extents], 1)
    levels = var(generator.integers(-1, 4, number), "int32")
    y = roi_align.roi_align(maps, [4, 8, 16, 32], var(rois, "float32"), levels, size)
    return _weighted_gradient(generator, y, maps) if differentiates else [y]


def gather(generator: Generator) -> list[jt.Var]:
    """Rows are picked several times, and not at all."""
    images, rows, picks, width = (int(n) for n in generator.integers(1, (4, 200, 300, 9), endpoint=True))
    values = _numbers(generator, images, rows, width)
    index = var(generator.integers(0, rows, (images, picks)), "int32")
    return _weighted_gradient(generator, columns.gather_rows(values, index), [values])


def suppress(generator: Generator) -> list[jt.Var]:
    """No box is inverted: mmcv's two operators, which ours follow, do not agree about those."""
    images, number = (int(n) for n in generator.integers(1, (3, 400), endpoint=True))
    corners = generator.uniform(0, 200, (images, number, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(1, 60, corners.shape)], 2).astype(np.float32)
    scores = var(generator.integers(0, 50, (images, number)) / 50, "float32")  # with equal ones
    most = int(generator.integers(1, number, endpoint=True))
    return list(nms.nms(var(boxes), scores, _clear_threshold(generator, boxes), 0.1, most))


def _clear_threshold(generator: Generator, boxes: np.ndarray) -> float:
    """One that no pair of `boxes` (B,N,4) is as near to as rounding goes: the operators divide, or multiply."""
    low, high = boxes[:, :, None].astype(np.float64), boxes[:, None].astype(np.float64)
    sides = np.minimum(low[..., 2:], high[..., 2:]) - np.maximum(low[..., :2], high[..., :2])
    common = sides.clip(0).prod(-1)
    areas = [(table[..., 2:] - table[..., :2]).prod(-1) for table in (low, high)]
    overlaps = common / (areas[0] + areas[1] - common)
    while True:
        threshold = float(np.float32(generator.uniform(0.1, 0.9)))
        if np.abs(overlaps / threshold - 1).min() > 1e-6:
            return threshold


def _crowd(generator: Generator, boxes: int, classes: int) -> tuple[jt.Var, jt.Var]:
    number, kinds = (int(n) for n in generator.integers(1, (boxes, classes), endpoint=True))
    return tuple(var(array) for array in scene(number, kinds, seed=int(generator.integers(1 << 30))))


def pick_softly(generator: Generator) -> list[jt.Var]:
    boxes, scores = _crowd(generator, 50, 9)
    picks = soft_nms.soft_nms(boxes, scores, 1e-4, 100, split_threshold=int(generator.choice([0, 10**6])))
    return [picks.rows, picks.labels, picks.scores, picks.count]


def pick_hard(generator: Generator) -> list[jt.Var]:
    boxes, scores = _crowd(generator, 120, 9)
    picks = soft_nms.hard_nms_of_classes(boxes, scores, 0.1, 100, 0.5)
    return [picks.rows, picks.labels, picks.scores, picks.count]


def assign_boxes(generator: Generator) -> list[jt.Var]:
    images, number, truths = (int(n) for n in generator.integers(1, (3, 300, 20), endpoint=True))
    tables = [scene(number, 1, seed=int(generator.integers(1 << 30)))[0] for _ in range(images)]
    rows = generator.integers(0, number, (images, truths))
    found = np.stack([table[chosen] for table, chosen in zip(tables, rows, strict=True)]) + np.float32(2.0)
    valid = var(generator.random((images, number)) < 0.9)
    counts = var(generator.integers(0, truths, images, endpoint=True), "int32")
    return [assign.MaxIoUAssigner(0.5, 0.3, 0.3)(var(np.stack(tables)), valid, var(found), counts)]


def sample_boxes(generator: Generator) -> list[jt.Var]:
    images, number = (int(n) for n in generator.integers(1, (3, 300), endpoint=True))
    most, share = int(generator.integers(1, number, endpoint=True)), float(generator.choice([0.25, 0.5, 1.0]))
    sampler = sample.RandomSampler(most, share)
    keys = generator.random((images, number))
    sampler.keys = lambda *_: var(keys, "float32")
    found = sampler(var(generator.integers(-1, 3, (images, number)), "int32"), Draw(0, 0, Use.ROIS))
    return [found.index, found.positive, found.weight, found.truth, found.positives, found.negatives]


def draw_keys(generator: Generator) -> list[jt.Var]:
    seed, step = (int(n) for n in generator.integers(0, 1 << 32, 2))
    rows, columns = (int(n) for n in generator.integers(1, (5, 3000), endpoint=True))
    return [random_keys.random_keys(Draw(seed, step, Use(int(generator.integers(len(Use))))), (rows, columns))]


def make_anchors(generator: Generator) -> list[jt.Var]:
    sizes = [(int(h), int(w)) for h, w in generator.integers(1, 40, (2, 2))]
    shapes = var(generator.integers(8, 320, (int(generator.integers(1, 4)), 2)), "float32")
    return list(anchors.AnchorGenerator([1, 2], [0.5, 1.0], [7.5, 16])(sizes, shapes))


def update_parameters(
    generator: Generator, algorithm: type, scaled: jt.Var | None = None, **settings: object
) -> list[jt.Var]:
    """Parameters and buffers after a step. A number alone is large: what a step leaves of it is no rounding."""
    lengths = [int(n) for n in generator.choice([1, 3, 255, 256, 257, 4096, 4097, 9001], 3)]
    parameters = [var(generator.normal(50 if length == 1 else 0, 1, length), "float32") for length in lengths]
    return after_a_step(generator, parameters, algorithm, scaled, **settings)


def after_a_step(
    generator: Generator, parameters: list[jt.Var], algorithm: type, scaled: jt.Var | None = None, **settings: object
) -> list[jt.Var]:
    """Parameters and buffers, which were not empty before; with `scaled` some steps are skipped."""
    optimizer = algorithm(parameters, lr=0.1, weight_decay=0.1, **settings)
    group = optimizer.param_groups[0]
    group |= {"lr": 0.1, "weight_decay": 0.1}
    buffers = [group[name] for name in ("m", "values", "most") if name in group]
    for buffer in (buffer for buffers_of_one in buffers for buffer in buffers_of_one):
        buffer.update(var(generator.random(buffer.shape), "float32"))
    optimizer.backward(sum((parameter.sin() * parameter).sum() for parameter in parameters))
    jt.sync_all()
    optimizer.n_step = 3
    norm = 3.0 if scaled is None or generator.random() < 0.7 else np.inf
    optimizer.update(var([norm], "float32"), 2.0, 0.3, scaled)
    return [variable for row in zip(parameters, *buffers, strict=True) for variable in row]


def _scaled(generator: Generator) -> jt.Var:
    """What the update of scaled gradients has to know; often it is the first."""
    return var([float(generator.choice([1.0, 512.0])), 0.19, 0.044, float(generator.integers(0, 2))], "float32")


def follow_gradients(generator: Generator) -> list[jt.Var]:
    scale = loss_scale.LossScale(512.0, 2.0, 0.5, 3)
    scale.state.update(var([generator.uniform(1, 1024), float(generator.integers(0, 4)), 7.0], "float32"))
    norm = float(generator.choice([3.0, 1e30, np.inf, np.nan]))
    measured, scaled = scale.follow(var([norm], "float32"), (0.9, 0.999))
    return [scale.state, scaled, measured]


def keep_largest(generator: Generator) -> list[jt.Var]:
    """Rows in which few or all values are kept, with equal ones, signed zeros, infinities and NaN among them."""
    number = int(generator.choice([1, 5, 1023, 4096, 4097, 30_000]))
    values = generator.standard_normal((int(generator.integers(1, 3)), number)).astype(np.float32)
    if generator.random() < 0.5:
        values = values.round(int(generator.integers(0, 3)))
    values[generator.random(values.shape) < 0.01] = generator.choice([np.inf, -np.inf, -0.0, np.nan])
    kept = int(generator.integers(1, min(number, top_k.MOST_KEPT), endpoint=True))
    return [top_k.top_k(var(values), kept)]


def keep_largest_of_levels(generator: Generator) -> list[jt.Var]:
    counts = [int(n) for n in generator.integers(1, 6000, int(generator.choice([1, 5, 17])))]
    values = generator.standard_normal((2, sum(counts))).round(2)
    return [top_k.top_k_of_levels(var(values, "float32"), counts, int(generator.choice([1, 100, 2000, 4096])))]


def norm_of_gradients(generator: Generator) -> list[jt.Var]:
    lengths = [int(n) for n in generator.choice([1, 3, 255, 256, 257, 4096, 4097, 9001], 3)]
    gradients = [_numbers(generator, length) for length in lengths]
    return [update.gradient_norm(gradients, float(generator.choice([2.0, 3.0, np.inf])))]


CALLS: dict[str, tuple[ModuleType, Callable[[Generator], list[jt.Var]]]] = {
    "norm": (fixed_norm, lambda g: normalise(g, False)),
    "norm's gradient": (fixed_norm, lambda g: normalise(g, True)),
    "norm in half": (fixed_norm, lambda g: normalise(g, False, "float16")),
    "norm's gradient in half": (fixed_norm, lambda g: normalise(g, True, "float16")),
    "unit features": (unit_features, lambda g: make_unit_features(g, False)),
    "unit features' gradient": (unit_features, lambda g: make_unit_features(g, True)),
    "average pool": (average_pool, lambda g: pool(g, False)),
    "average pool's gradient": (average_pool, lambda g: pool(g, True)),
    "average pool in half": (average_pool, lambda g: pool(g, False, "float16")),
    "average pool's gradient in half": (average_pool, lambda g: pool(g, True, "float16")),
    "convolution": (convolution, lambda g: convolve(g, False)),
    "convolution's gradient": (convolution, lambda g: convolve(g, True)),
    "convolution in half": (convolution, lambda g: convolve(g, False, "float16")),
    "convolution's gradient in half": (convolution, lambda g: convolve(g, True, "float16")),
    "roi_align": (roi_align, lambda g: align(g, False)),
    "roi_align's gradient": (roi_align, lambda g: align(g, True)),
    "roi_align's gradient in order": (roi_align, lambda g: align(g, True)),
    "gather_rows' gradient in order": (columns, gather),
    "nms": (nms, suppress),
    "soft_nms": (soft_nms, pick_softly),
    "hard_nms_of_classes": (soft_nms, pick_hard),
    "top_k": (top_k, keep_largest),
    "top_k of levels": (top_k, keep_largest_of_levels),
    "assign": (assign, assign_boxes),
    "sample": (sample, sample_boxes),
    "random keys": (random_keys, draw_keys),
    "anchors": (anchors, make_anchors),
    "SGD": (update, lambda g: update_parameters(g, update.SGD, momentum=0.9, dampening=0.2)),
    "AdamW": (update, lambda g: update_parameters(g, update.AdamW)),
    "AMSGrad": (update, lambda g: update_parameters(g, update.AdamW, amsgrad=True)),
    "SGD, scaled": (update, lambda g: update_parameters(g, update.SGD, _scaled(g), momentum=0.9, dampening=0.2)),
    "AdamW, scaled": (update, lambda g: update_parameters(g, update.AdamW, _scaled(g))),
    "AMSGrad, scaled": (update, lambda g: update_parameters(g, update.AdamW, _scaled(g), amsgrad=True)),
    "norm of gradients": (update, norm_of_gradients),
    "loss scale": (loss_scale, follow_gradients),
}
