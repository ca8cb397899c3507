"""ResNet, FPN and the stock RPN against MMDetection's modules with the same random weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.batch import blank_arrays
from tests.parity.models import first_k_keys
from tests.parity.oracle.process import Oracle
from tests.parity.oracle.scenes import boxes, many
from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models.backbones.resnet import ResNet
from trainer.models.heads.rpn_head import RPNHead
from trainer.models.necks.fpn import FPN
from trainer.models.registry import build

# Two correct float32 programs add in another order: a share of each tensor's largest magnitude, more for gradients,
# where a ReLU whose input is within rounding of 0 may be open in one and closed in the other. That happens now and
# then, so the examples are always the same ones.
FORWARD, GRADIENT = 1e-4, 0.05
few = settings(many, max_examples=30, derandomize=True)


def fill(module: nn.Module, seed: int) -> dict[str, np.ndarray]:
    """Random weights that keep activations in size, given to `module` and returned by name."""
    generator, weights = np.random.default_rng(seed), {}
    for name, value in module.named_parameters():
        array = generator.standard_normal(value.shape).astype(np.float32)
        if len(value.shape) > 1:
            array *= np.sqrt(2 / np.prod(value.shape[1:]))
        elif name.endswith(("weight", "running_var")):
            array = 0.5 + np.abs(array) * 0.2
        else:
            array *= 0.1
        weights[name] = array.astype(np.float32)
        value.assign(var(weights[name]))
    return weights


def check_tensor(found: np.ndarray, expected: np.ndarray, limit: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


def check_network(oracle: Oracle, config: dict, module: nn.Module, inputs: list[np.ndarray], seed: int) -> None:
    """Same outputs, and same gradients of inputs and parameters, for a random linear objective."""
    weights = fill(module, seed)
    leaves = [var(array) for array in inputs]
    outputs = module(leaves[0] if isinstance(module, ResNet) else leaves)
    generator = np.random.default_rng(seed)
    cotangents = [generator.standard_normal(output.shape).astype(np.float32) for output in outputs]
    objective = sum((output * var(other)).sum() for output, other in zip(outputs, cotangents, strict=True))
    trained = {name: value for name, value in module.named_parameters() if not value.is_stop_grad()}
    gradients = [gradient.numpy() for gradient in jt.grad(objective, [*leaves, *trained.values()])]
    expected = oracle.ask("network", config=config, weights=weights, inputs=inputs, cotangents=cotangents)
    for output, other in zip(outputs, expected["outputs"], strict=True):
        check_tensor(output.numpy(), other, FORWARD)
    assert set(trained) == set(expected["parameters"])
    others = expected["inputs"] + [expected["parameters"][name] for name in trained]
    for gradient, other in zip(gradients, others, strict=True):
        assert np.linalg.norm(gradient - other) <= GRADIENT * np.linalg.norm(other) + 1e-6


@pytest.mark.parametrize(
    ("depth", "style", "frozen"), [(18, "pytorch", 1), (50, "pytorch", 1), (50, "caffe", -1), (50, "pytorch", 2)]
)
@settings(few, max_examples=3)
@given(height=st.integers(64, 130), width=st.integers(64, 130), seed=st.integers(0, 999))
def test_resnet_is_that_of_mmdet(
    oracle: Oracle, depth: int, style: str, frozen: int, height: int, width: int, seed: int
) -> None:
    arguments = {
        "depth": depth,
        "base_channels": 8,
        "frozen_stages": frozen,
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": True,
        "style": style,
    }
    images = np.random.default_rng(seed).standard_normal((2, 3, height, width)).astype(np.float32)
    check_network(oracle, {"type": "ResNet", "stem_channels": 8, **arguments}, ResNet(**arguments), [images], seed)


@settings(few, max_examples=8)
@given(height=st.integers(5, 40), width=st.integers(5, 40), seed=st.integers(0, 999))
def test_fpn_is_that_of_mmdet(oracle: Oracle, height: int, width: int, seed: int) -> None:
    # Sizes as a ResNet gives them: each level half of the finer one, rounded up.
    sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(4)]
    generator = np.random.default_rng(seed)
    maps = [generator.standard_normal((2, 4 * 2**i, *size)).astype(np.float32) for i, size in enumerate(sizes)]
    arguments = {"in_channels": [4, 8, 16, 32], "out_channels": 6, "num_outs": 5}
    check_network(oracle, {"type": "FPN", **arguments}, FPN(**arguments), maps, seed)


RPN = {
    "type": "RPNHead",
    "in_channels": 8,
    "feat_channels": 12,
    "anchor_generator": {"type": "AnchorGenerator", "scales": [2, 4], "ratios": [0.5, 1.0, 2.0], "strides": [8, 16]},
    "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [1.0] * 4},
    "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
    "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
}
TRAINING = {
    "assigner": {"type": "MaxIoUAssigner", "pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3},
    "sampler": {"type": "RandomSampler", "num": 64, "pos_fraction": 0.5},
}
SIZES = [(12, 16), (6, 8)]
SHAPES = [[96, 128], [80, 101]]


def rpn(rules: dict, seed: int) -> tuple[RPNHead, dict, list[np.ndarray]]:
    """A head with random weights, these weights, and random maps of two images."""
    head = build(RPN, "model.rpn_head", train_cfg=TRAINING, proposal_cfg=rules, test_cfg=rules)
    head.strict_sampler.keys = first_k_keys
    weights = fill(head, seed)
    generator = np.random.default_rng(seed)
    return head, weights, [generator.standard_normal((2, 8, *size)).astype(np.float32) for size in SIZES]


RULES = {"nms_pre": 200, "max_per_img": 100, "min_bbox_size": 0, "nms": {"type": "nms", "iou_threshold": 0.7}}


@few
@given(truths=st.tuples(boxes(most=50), boxes(most=300)), seed=st.integers(0, 999))
def test_losses_of_the_rpn_are_those_of_mmdet(oracle: Oracle, truths: tuple, seed: int) -> None:
    # The data server hands over boxes clipped to the image and at least a pixel wide.
    truths = [np.clip(rows, 0, [shape[1], shape[0]] * 2) for rows, shape in zip(truths, SHAPES, strict=True)]
    truths = [rows[(rows[:, 2:] - rows[:, :2] >= 1).all(1)].astype(np.float32) for rows in truths]
    arrays = blank_arrays(2, 96, 128, boxes=304)
    arrays["image_shapes"][:] = SHAPES
    for i, rows in enumerate(truths):
        arrays["boxes"][i, : len(rows)] = rows
        arrays["box_counts"][i] = len(rows)
    batch = Batch.from_arrays(arrays)
    head, weights, maps = rpn(RULES, seed)
    leaves = [var(array) for array in maps]
    terms = head.loss(head(leaves), batch)
    gradients = jt.grad(terms["loss_rpn_cls"] + terms["loss_rpn_bbox"], leaves)
    expected = oracle.ask(
        "rpn_loss",
        config={**RPN, "train_cfg": {**TRAINING, "allowed_border": 0, "pos_weight": -1}},
        weights=weights,
        maps=maps,
        boxes=truths,
        image_shapes=SHAPES,
        pad_shape=[96, 128],
    )
    for name, value in expected["terms"].items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4, abs=1e-6)
    for gradient, other in zip(gradients, expected["maps"], strict=True):
        assert np.linalg.norm(gradient.numpy() - other) <= GRADIENT * np.linalg.norm(other) + 1e-6


@few
@given(
    best=st.sampled_from([50, 5000]), most=st.sampled_from([10, 5000]), least=st.sampled_from([0, 30]),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_proposals_of_the_rpn_are_those_of_mmdet(compiled: Oracle, best: int, most: int, least: int, seed: int) -> None:
    rules = {**RULES, "nms_pre": best, "max_per_img": most, "min_bbox_size": least}
    head, weights, maps = rpn(rules, seed)
    found = head.proposals(head([var(array) for array in maps]), var(SHAPES, "float32"), "test").numpy()
    expected = compiled.ask("rpn_proposals", config=RPN, weights=weights, maps=maps, image_shapes=SHAPES, rules=rules)
    for rows, others in zip(found, expected, strict=True):
        rows = rows[rows[:, 4] >= 0]
        assert len(rows) == len(others)
        np.testing.assert_allclose(rows[:, 4], others[:, 4], rtol=1e-4)
        # Scores within rounding of each other may be in another order: every row has a partner.
        near = np.abs(rows[:, None, :4] - others[None, :, :4]).max(-1) < 0.01
        near &= np.abs(rows[:, None, 4] - others[None, :, 4]) < 1e-4
        assert near.any(1).all()
