"""Names: CLIP's and RegionCLIP's files find their places in our models, and every misfit is listed."""

import json

import numpy as np
import pytest

from shared.errors import UserError
from tests.parity.golden import DIRECTORY
from trainer.weights import names

SHARED_HEAD, POOL = "roi_head.shared_head.layer4.", "roi_head.bbox_head.attnpool."


def zeros(*tensor_names: str) -> dict[str, np.ndarray]:
    return {name: np.zeros(2, np.float16) for name in tensor_names}


def test_clips_image_tower_is_renamed_and_its_text_tower_dropped() -> None:
    source, weights = names.ours(
        zeros(
            "visual.conv1.weight",
            "visual.layer3.5.bn3.bias",
            "visual.layer4.0.conv1.weight",
            "visual.attnpool.q_proj.weight",
            "transformer.resblocks.0.ln_1.weight",
            "positional_embedding",
            "logit_scale",
        )
    )
    assert source == "CLIP"
    assert list(weights) == [
        "backbone.conv1.weight",
        "backbone.layer3.5.bn3.bias",
        SHARED_HEAD + "0.conv1.weight",
        POOL + "q_proj.weight",
    ]


def test_of_clips_vit_what_is_behind_the_last_block_is_dropped_with_the_text_tower() -> None:
    source, weights = names.ours(
        zeros(
            "visual.class_embedding",
            "visual.positional_embedding",
            "visual.proj",
            "visual.conv1.weight",
            "visual.transformer.resblocks.11.attn.in_proj_weight",
            "visual.ln_post.weight",
            "positional_embedding",
            "transformer.resblocks.11.attn.in_proj_weight",
            "text_projection",
        )
    )
    assert source == "CLIP's ViT"
    assert list(weights) == [
        "backbone.class_embedding",
        "backbone.positional_embedding",
        "backbone.conv1.weight",
        "backbone.transformer.resblocks.11.attn.in_proj_weight",
    ]


def test_regionclips_backbone_is_parted_and_its_other_parts_dropped() -> None:
    source, weights = names.ours(
        zeros(
            "backbone.conv1.weight",
            "backbone.layer4.2.bn1.running_var",
            "backbone.attnpool.positional_embedding",
            "lang_encoder.ln_final.weight",
            "offline_backbone.conv1.weight",
            "offline_proposal_generator.rpn_head.conv.weight",
            "teacher_backbone.layer4.0.conv1.weight",
            "roi_heads.box_predictor.bbox_pred.weight",
        )
    )
    assert source == "RegionCLIP"
    assert list(weights) == [
        "backbone.conv1.weight",
        SHARED_HEAD + "2.bn1.running_var",
        POOL + "positional_embedding",
    ]


def test_a_resnets_fourth_stage_stays_in_the_backbone_of_mmdetections_files() -> None:
    weights = zeros("backbone.layer4.0.conv1.weight", "neck.fpn_convs.0.conv.weight")
    assert names.ours(weights) == ("", weights)


def test_everything_that_does_not_fit_is_listed_with_shapes() -> None:
    arrays = {"a": np.zeros((2, 3)), "b": np.zeros(4), "d": np.zeros(())}
    fit = names.fit(arrays, [("a", (2, 3)), ("b", (5,)), ("c", (1, 2))])
    assert list(fit.weights) == ["a"]
    assert fit.report == (
        "1 tensors fit; 1 missing: c [1, 2]; 1 unexpected: d []; 1 of another shape: b [4], expected [5]"
    )


def test_vocabularies_and_counters_are_neither_loaded_nor_missing_nor_unexpected() -> None:
    arrays = {
        "roi_head.bbox_head.zs_weights": np.ones((4, 3)),
        "roi_head.bbox_head.zs_weights_1": np.ones((4, 3)),
        "backbone.bn1.num_batches_tracked": np.ones((), np.int64),
    }
    model = [("roi_head.bbox_head.zs_weights", (4, 3)), ("roi_head.bbox_head.zs_weights_0", (4, 9))]
    assert names.fit(arrays, model) == ({}, [], [], [])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.float32])
def test_weights_arrive_as_contiguous_float32(dtype: type) -> None:
    stored = np.arange(12, dtype=dtype).reshape(3, 4).T
    weights = names.fit({"a": stored}, [("a", (4, 3))]).weights["a"]
    assert weights.dtype == np.float32 and weights.flags.c_contiguous
    np.testing.assert_array_equal(weights, stored)


def test_a_shape_that_only_claims_to_be_large_is_not_copied() -> None:
    claimed = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1 << 40,), (0,))
    assert names.fit({"a": claimed}, [("a", (3,))]).misshapen == [f"a [{1 << 40}], expected [3]"]


@pytest.mark.parametrize(
    "detector, parameters, tensors",
    [("stage1_detector", 41_346_893, 299), ("stage2_detector", 38_320_996, 288), ("end2end_detector", 47_836_079, 293)],
)
def test_golden_parameter_lists_have_the_published_totals_and_fit_themselves(
    detector: str, parameters: int, tensors: int
) -> None:
    if not (DIRECTORY / "params.json").is_file():
        pytest.skip(f"no params.json in {DIRECTORY}")
    listed = json.loads((DIRECTORY / "params.json").read_text())[detector]
    assert sum(int(np.prod(shape)) for _, shape, kind in listed if kind == "param") == parameters
    assert len(listed) == tensors
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape, _ in listed}
    fit = names.fit(arrays, [(name, tuple(shape)) for name, shape, _ in listed])
    assert (fit.missing, fit.unexpected, fit.misshapen) == ([], [], [])
    assert set(arrays) - set(fit.weights) == {name for name in arrays if "zs_weights" in name}


@pytest.mark.parametrize(
    "wrap",
    ["module.{}", "module.module.{}", "model.{}", "_orig_mod.{}", "model._orig_mod.{}", "module.model.{}"],
)
def test_what_a_program_wraps_a_model_in_is_taken_off_its_names(wrap: str) -> None:
    inner = ("backbone.conv1.weight", "rpn_head.rpn_obj.bias")
    assert list(names.ours(zeros(*map(wrap.format, inner)))[1]) == list(inner)
    assert names.ours(zeros(wrap.format("visual.conv1.weight")))[0] == "CLIP"


def test_a_wrapper_that_only_some_names_have_is_a_part_of_the_model() -> None:
    own = ("model.conv.weight", "backbone.conv1.weight")
    assert list(names.ours(zeros(*own))[1]) == list(own)
    assert list(names.ours(zeros("backbone._orig_mod.conv1.weight", "neck.bias"))[1]) == [
        "backbone.conv1.weight",
        "neck.bias",
    ]
    two = ("_orig_mod.a.weight", "a.weight")
    assert list(names.ours(zeros(*two))[1]) == list(two)


def test_the_prefix_without_which_most_fits_is_found() -> None:
    expected = ["backbone.conv1.weight", "neck.bias"]
    assert names.outer([f"my.detector.{name}" for name in expected] + ["loss.weight"], expected) == ["my.detector."]
    assert names.outer([f"{who}.{name}" for who in ("student", "teacher") for name in expected], expected) == [
        "student.",
        "teacher.",
    ]
    assert names.outer(["conv.weight"], expected) == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_first_tensor_that_is_not_finite_is_named(wrong: float) -> None:
    arrays = zeros("a", "b", "c") | {"counter": np.zeros(2, np.int64)}
    names.check_finite(arrays, "weights F")
    arrays["b"][1] = arrays["c"][0] = wrong
    with pytest.raises(UserError, match=r"^weights F: tensor 'b' has 1 numbers of 2 that are NaN or infinite"):
        names.check_finite(arrays, "weights F")
