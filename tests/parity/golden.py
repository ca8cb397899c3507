"""Golden cases: what the authors' PyTorch code computed, and how its inputs and weights are made again.

A case is all files ``caseNN_*.npz`` of one folder ($GOLDEN_DIR, or ``shared/golden`` beside the repository);
``keys.json`` says what each file holds. Weights and large inputs are not stored: both are drawn from numpy generators
that are seeded by a name. Large outputs are stored as 4000 probes.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

DIRECTORY = Path(os.environ.get("GOLDEN_DIR", Path(__file__).resolve().parents[3] / "shared" / "golden"))

NORM = re.compile(r"(^|\.)(bn\d+|downsample\.1)$")  # the parent module is a batch norm
LAST_NORM = re.compile(r"layer\d+\.\d+\.bn3$")

# Largest deviations allowed, as a share of a tensor's largest magnitude (or of a gradient's norm). Two correct
# float32 programs differ by rounding in another order of adding; the reference itself moves this much when its inputs
# are disturbed by 1e-6.
FORWARD = 1e-4
BEHIND_ROI_ALIGN = 5e-4
GRADIENT_NORM = 0.01
GRADIENT_PROJECTION = 0.05
GRADIENT_TENSOR = 0.03


def normal(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, float64, drawn from a generator seeded by `key`."""
    generator = np.random.RandomState(zlib.crc32(key.encode("utf-8")) & 0x7FFFFFFF)
    return generator.standard_normal(tuple(int(n) for n in shape))


def gain(name: str, shape: tuple[int, ...]) -> float:
    """Factor of a convolution's or linear layer's weights, chosen so that outputs have a useful size."""
    oln = name.startswith("rpn_head.") and shape[1] == 256
    if name == "rpn_head.rpn_obj.weight":
        return 8.0
    if name == "rpn_head.rpn_cls.weight":
        return 8.0 if oln else 1.0
    if name == "rpn_head.rpn_reg.weight":
        return 1.5 if oln else 0.3
    if name.startswith("neck.lateral_convs."):
        return 0.2
    if name.startswith("neck.fpn_convs."):
        return 0.7
    if re.search(r"attnpool\.[qk]_proj\.weight$", name):
        return 0.35
    if re.search(r"bbox_head\.fc_reg\.weight$", name):
        return 0.25
    return 1.0


def parameter(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The value of a parameter or buffer by its full name in the detector, float32."""
    z = normal(f"{seed}|{name}", shape)
    parent, _, leaf = name.rpartition(".")
    if leaf == "running_mean":
        value = 0.1 * z
    elif leaf == "running_var":
        value = 1 + 0.1 * np.abs(z)
    elif leaf == "positional_embedding":
        value = 0.1 * z
    elif NORM.search(parent):
        value = (0.3 if LAST_NORM.search(parent) else 1.0) * (1 + 0.1 * z) if leaf == "weight" else 0.1 * z
    elif leaf == "bias":
        value = 0.01 * z
        if name == "rpn_head.rpn_reg.bias" and tuple(shape) == (4,):
            value = value + 0.5
    else:
        value = z * np.sqrt(2.0 / int(np.prod(shape[1:]))) * gain(name, shape)
    return value.astype(np.float32)


def image(seed: int, case: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normalised images (N,3,H,W): blocks of colour and noise."""
    n, c, h, w = (int(size) for size in shape)
    blocks = normal(f"{seed}|{case}|img_block", (n, c, (h + 15) // 16, (w + 15) // 16))
    blocks = blocks.repeat(16, 2).repeat(16, 3)[:, :, :h, :w]
    return (1.5 * blocks + 0.5 * normal(f"{seed}|{case}|img_noise", shape)).astype(np.float32)


def embedding(seed: int, dataset: int, classes: int) -> np.ndarray:
    """Class embeddings (classes, 1024) with unit rows."""
    v = normal(f"{seed}|embed|{dataset}", (classes, 1024))
    return (v / np.sqrt((v * v).sum(1, keepdims=True))).astype(np.float32)


def roi_features(seed: int, case: str, shape: tuple[int, ...]) -> np.ndarray:
    """RoI features (N,C,h,w), not negative."""
    a = normal(f"{seed}|{case}|roi_feat_a", (*shape[:2], 1, 1))
    z = normal(f"{seed}|{case}|roi_feat_z", shape)
    return np.maximum(a + 0.7 * z, 0).astype(np.float32)


def feature(seed: int, case: str, level: int, shape: tuple[int, ...], relu: bool = False) -> np.ndarray:
    """A feature map (N,C,h,w)."""
    f = normal(f"{seed}|{case}|feat{level}", shape)
    return (np.maximum(f, 0) if relu else f).astype(np.float32)


def files(number: int) -> list[str]:
    """Names of a case's files, for test ids; one stand-in when they are missing, whose test skips."""
    return sorted(path.name for path in DIRECTORY.glob(f"case{number:02d}_*.npz")) or [f"case{number:02d}_missing.npz"]


def parameters(model: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's parameters and buffers in the reference's checkpoints."""
    path = DIRECTORY / "params.json"
    if not path.exists():
        pytest.skip(f"no golden vectors: {path} does not exist (set GOLDEN_DIR)")
    return {name: tuple(shape) for name, shape, _ in json.loads(path.read_text())[model]}


class Case:
    """One file of golden numbers.

    Attributes:
        values: every stored array by its key.
        seed: the seed of its weights and inputs.
    """

    def __init__(self, name: str) -> None:
        path = DIRECTORY / name
        if not path.exists():
            pytest.skip(f"no golden vectors: {path} does not exist (set GOLDEN_DIR)")
        with np.load(path) as stored:
            self.values = {key: stored[key] for key in stored.files}
        self.name = name
        self.seed = int(self.values["meta.seed"])

    def __getitem__(self, key: str) -> np.ndarray:
        return self.values[key]

    def generated(self, name: str, value: np.ndarray) -> np.ndarray:
        """`value`, after comparing its mean, std and first 8 values with those stored for generated input `name`."""
        check = np.array([value.mean(dtype=np.float64), value.std(dtype=np.float64), *value.ravel()[:8]])
        np.testing.assert_allclose(check, self[f"in.check.{name}"], rtol=1e-4, atol=1e-5)
        return value

    def image_batch(self) -> np.ndarray:
        """The normalised images (N,3,H,W) with zeros outside each image's content."""
        images = self.generated("image", self._masked(image(self.seed, self.name[:6], self["in.shape.image"])))
        return images

    def _masked(self, images: np.ndarray) -> np.ndarray:
        for one, (height, width, _) in zip(images, self["in.img_shape"], strict=True):
            one[:, height:] = 0
            one[:, :, width:] = 0
        return images

    def agrees(self, key: str, actual: np.ndarray, limit: float = FORWARD) -> None:
        """Assert that `actual` is the stored tensor (or has its probes) within `limit` of the largest magnitude."""
        if f"{key}@val" in self.values:
            assert tuple(actual.shape) == tuple(self[f"{key}@shape"]), key
            where = np.random.RandomState(12345).randint(0, actual.size, 4000)
            actual, expected = actual.reshape(-1)[where], self[f"{key}@val"]
            scale = np.abs(self[f"{key}@stat"][2:4]).max()
        else:
            expected = self[key]
            actual = np.asarray(actual).reshape(expected.shape) if expected.ndim == 0 else actual
            assert actual.shape == expected.shape, key
            scale = np.abs(expected).max(initial=0)
        error = np.abs(actual.astype(np.float64) - expected).max(initial=0)
        record(self.name, key, error / max(scale, 1e-30), limit)
        assert error <= limit * scale + 1e-12, f"{key}: off by {error:.3g} where the largest magnitude is {scale:.3g}"

    def gradient_agrees(self, key: str, actual: np.ndarray) -> None:
        """Assert that a gradient tensor has a relative L2 error (over its probes if it is large) within 3 %."""
        if f"{key}@val" in self.values:
            where = np.random.RandomState(12345).randint(0, actual.size, 4000)
            actual, expected = actual.reshape(-1)[where], self[f"{key}@val"]
        else:
            expected = self[key]
        error = np.linalg.norm(actual.astype(np.float64) - expected) / max(np.linalg.norm(expected), 1e-30)
        record(self.name, key, error, GRADIENT_TENSOR)
        assert error <= GRADIENT_TENSOR, f"{key}: relative error {error:.3g}"

    def gradients_agree(self, tag: str, gradients: dict[str, np.ndarray]) -> None:
        """Assert norms and projections of all parameters' gradients; what does not train must be absent."""
        names, norms, projections = self[f"{tag}.grad_names"], self[f"{tag}.grad_norm"], self[f"{tag}.grad_proj"]
        trained = {str(name) for name, norm in zip(names, norms, strict=True) if norm >= 0}
        assert set(gradients) == trained
        largest = norms.max()
        for name, norm, projection in zip(names, norms, projections, strict=True):
            if norm < 0:
                continue
            gradient = gradients[str(name)].astype(np.float64)
            scale = norm + 0.001 * largest
            norm_error = abs(np.linalg.norm(gradient) - norm) / scale
            projection_error = abs((gradient * normal(f"proj|{name}", gradient.shape)).sum() - projection) / scale
            record(self.name, f"{tag}.grad_norm", norm_error, GRADIENT_NORM)
            record(self.name, f"{tag}.grad_proj", projection_error, GRADIENT_PROJECTION)
            assert norm_error <= GRADIENT_NORM, f"{name}: gradient norm off by {norm_error:.3g}"
            assert projection_error <= GRADIENT_PROJECTION, f"{name}: gradient projection off by {projection_error:.3g}"

    def table_agrees(
        self, key: str, actual: np.ndarray, labels_key: str | None = None, labels: np.ndarray | None = None
    ) -> None:
        """Assert that a table of boxes and scores (n,5) has the stored rows, in any order.

        The count within 1 %; every stored row has a partner within 0.02 px and 2e-4 in score, and of the same label
        where there are labels (n,), except 2 % of them.
        """
        expected = self[key]
        assert abs(len(actual) - len(expected)) <= 0.01 * len(expected), key
        near = np.abs(actual[None, :, :4] - expected[:, None, :4]).max(-1) <= 0.02
        near &= np.abs(actual[None, :, 4] - expected[:, None, 4]) <= 2e-4
        if labels_key:
            near &= labels[None] == self[labels_key][:, None]
        alone = 1 - near.any(1).mean()
        record(self.name, key, alone, 0.02)
        assert alone <= 0.02, f"{key}: {alone:.1%} of the rows have no partner"


@lru_cache(maxsize=1)
def _report() -> Path | None:
    name = os.environ.get("PARITY_REPORT")
    return Path(name) if name else None


def record(case: str, key: str, error: float, limit: float) -> None:
    """Append a deviation to the file named by $PARITY_REPORT, if there is one."""
    if _report():
        with _report().open("a") as out:
            out.write(f"{case}\t{key}\t{error:.3e}\t{limit:.3e}\n")
