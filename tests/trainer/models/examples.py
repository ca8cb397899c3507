"""Small detectors, batches and fillings that the tests of the models share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from shared.batch import BOX_MULTIPLE, blank_arrays, padded
from tests.parity.models import stage_1
from trainer.batch import Batch
from trainer.device import nn, seed, var
from trainer.models import build_detector

# Stage 1 with a ResNet-18 of 8 channels, 16 pyramid channels and few samples; by dotted path into a config's model.
SMALL_STAGE_1 = {
    "backbone.depth": 18,
    "backbone.base_channels": 8,
    "neck.in_channels": [8, 16, 32, 64],
    "neck.out_channels": 16,
    "rpn_head.in_channels": 16,
    "rpn_head.feat_channels": 16,
    "roi_head.bbox_roi_extractor.out_channels": 16,
    "roi_head.bbox_head.in_channels": 16,
    "roi_head.bbox_head.fc_out_channels": 32,
    "train_cfg.rcnn.sampler.num": 32,
    "train_cfg.rpn.sampler.num": 64,
    "train_cfg.rpn.objectness_sampler.num": 64,
}


def small_model(**changes: object) -> dict:
    """A small stage 1."""
    return stage_1(**{**SMALL_STAGE_1, **changes})


def documented(name: str) -> str:
    """The user's module of that name in docs/configs.md."""
    page = (Path(__file__).parents[3] / "docs/configs.md").read_text()
    (module,) = re.findall(rf"^```python\n# {re.escape(name)}\n(.*?)^```$", page, re.M | re.S)
    return module


def random_batch(height: int = 96, width: int = 128, counts: tuple[int, ...] = (3, 2), seed: int = 0) -> Batch:
    """Noise images with random boxes; the last image's content is 16 pixels smaller than the padded size."""
    generator = np.random.default_rng(seed)
    images = len(counts)
    arrays = blank_arrays(images, height, width, padded(max(*counts, 1), BOX_MULTIPLE))
    arrays["image_shapes"][-1] -= 16
    arrays["scale_factors"][:] = 0.5
    arrays["box_counts"][:] = counts
    for i, count in enumerate(counts):
        corner = generator.uniform(1, arrays["image_shapes"][i, ::-1] - 50, (count, 2))
        arrays["boxes"][i, :count] = np.concatenate([corner, corner + generator.uniform(24, 48, (count, 2))], 1)
    arrays["images"][:] = generator.integers(0, 255, (images, height, width, 3))
    return Batch.from_arrays(arrays)


def sequence(shape: tuple[int, ...], amplitude: float = 1.0, step: float = 0.7, phase: float = 0.0) -> np.ndarray:
    """amplitude · sin(step · k + phase) over the flat index k, float32."""
    return (amplitude * np.sin(step * np.arange(np.prod(shape)) + phase)).astype(np.float32).reshape(shape)


def drawn(model: dict) -> nn.Module:
    """The detector of a config's model with weights as training begins with them, always the same; only that the norms
    at the end of blocks, which begin as zeros, let something through. Its maps fit into half precision."""
    seed(0)
    detector = build_detector(model)
    for name, value in detector.named_parameters():
        if name.endswith(("bn2.weight", "bn3.weight")) and not value.numpy().any():
            value.assign(var(np.full(value.shape, 0.5, np.float32)))
    return detector


def fill_with_sequences(module: nn.Module) -> None:
    """Deterministic weights without a random generator; the j-th name in order has phase 0.13 j.

    Vocabularies stay as they are.
    """
    named = [(name, value) for name, value in module.named_parameters() if "zs_weights" not in name]
    for j, (name, value) in enumerate(sorted(named)):
        amplitude, shift = 2 / np.sqrt(np.prod(value.shape[1:])), 0.0
        if name.endswith("running_var"):
            amplitude, shift = 0.2, 1.0
        elif len(value.shape) == 1:
            amplitude, shift = 0.1, float(name.endswith("weight"))
        elif name.endswith("positional_embedding"):
            amplitude = 0.05
        value.assign(var(shift + sequence(tuple(value.shape), amplitude, phase=0.13 * j)))
