"""The parts of a data set's config, and its form for inference."""

import pytest

from shared.datasets import bytes_of, check_evaluated, names_of, parts_of, whole, with_data_root
from shared.errors import UserError

CUPS = {
    "type": "CocoDataset",
    "ann_file": "cups.json",
    "metainfo": {"classes": ("cup",)},
    "filter_cfg": {"min_size": 32},
    "indices": 16,
    "proposal_file": "proposals",
    "proposal_model": "ab",
    "pipeline": [{"type": "LoadImageFromFile"}, {"type": "LoadProposals"}, {"type": "PackDetInputs"}],
}
LAMPS = {"type": "CocoDataset", "ann_file": "lamps.json", "data_root": "own"}


def test_the_parts_of_wrappers_are_the_data_sets_within_and_any_other_is_its_own():
    both = {"type": "ConcatDataset", "datasets": (CUPS, LAMPS)}
    assert parts_of(CUPS) == [CUPS] and parts_of(both) == [CUPS, LAMPS]
    repeated = {"type": "RepeatDataset", "times": 2, "dataset": both}
    balanced = {"type": "mmdet.ClassBalancedDataset", "oversample_thr": 1e-3, "dataset": repeated}
    assert parts_of({"type": "ConcatDataset", "datasets": [LAMPS, balanced]}) == [LAMPS, CUPS, LAMPS]


def test_a_data_set_whose_images_are_mixed_says_so_but_not_at_inference():
    mixing = {
        "type": "mmdet.MultiImageMixDataset",
        "pipeline": [{"type": "Mosaic"}],
        "max_refetch": 3,
        "dataset": LAMPS,
    }
    (part,) = parts_of({"type": "RepeatDataset", "times": 2, "dataset": mixing})
    assert part == {**LAMPS, "mixed": {"pipeline": [{"type": "Mosaic"}], "max_refetch": 3}}
    assert "mixed" not in whole(part)
    both = {**mixing, "dataset": {"type": "ConcatDataset", "datasets": [LAMPS, CUPS]}}
    assert parts_of(both) == [{**one, "mixed": part["mixed"]} for one in (LAMPS, CUPS)]
    for wrapper in ({"type": "RepeatDataset", "times": 2}, {"type": "MultiImageMixDataset", "pipeline": []}):
        inner = {"type": "ConcatDataset", "datasets": [LAMPS, {**wrapper, "dataset": CUPS}]}
        with pytest.raises(UserError, match=rf"is around '{wrapper['type']}'; here it goes around data sets and Conc"):
            parts_of({**mixing, "dataset": inner})
    with pytest.raises(
        UserError, match="here has a MultiImageMixDataset, but what is evaluated has images as they are"
    ):
        check_evaluated({"type": "ConcatDataset", "datasets": [LAMPS, mixing]}, "here")


def test_a_wrapper_hands_class_agnostic_on_to_those_within_that_do_not_say_it():
    own = {**LAMPS, "class_agnostic": False}
    both = {"type": "ConcatDataset", "datasets": [CUPS, own], "_scope_": "mmdet"}
    wrapped = {"type": "RepeatDataset", "times": 2, "dataset": both, "class_agnostic": True}
    assert parts_of(wrapped) == [{**CUPS, "class_agnostic": True}, own]


def test_at_inference_every_image_counts_and_none_has_proposals():
    before = repr(CUPS)
    assert whole(CUPS) == {
        "type": "CocoDataset",
        "ann_file": "cups.json",
        "metainfo": {"classes": ("cup",)},
        "pipeline": [{"type": "LoadImageFromFile"}, {"type": "PackDetInputs"}],
        "test_mode": True,
    }
    assert repr(CUPS) == before


def test_another_pipeline_loses_its_proposals_too():
    assert whole(LAMPS, CUPS["pipeline"]) == {
        **LAMPS,
        "pipeline": [{"type": "LoadImageFromFile"}, {"type": "PackDetInputs"}],
        "test_mode": True,
    }


def test_a_data_root_goes_to_every_data_set_that_has_none():
    nested = {"type": "RepeatDataset", "dataset": {"type": "ConcatDataset", "datasets": [CUPS, LAMPS]}}
    cups, lamps = with_data_root(nested, "data")["dataset"]["datasets"]
    assert (cups["data_root"], lamps["data_root"]) == ("data", "own") and "data_root" not in CUPS
    assert with_data_root(nested, None) == nested


def test_data_sets_are_called_as_their_annotation_files_and_as_large_as_these_together(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes(b"x" * 10)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.json").write_bytes(b"x" * 7)
    one, other = str(tmp_path / "a.json"), str(tmp_path / "sub" / "b.json")
    first = {"type": "CocoDataset", "ann_file": "a.json", "data_root": str(tmp_path)}
    second = {"type": "CocoDataset", "ann_file": other, "data_root": "nowhere"}
    missing = {"type": "CocoDataset", "ann_file": "none.json"}
    both = {"type": "ConcatDataset", "datasets": (first, {"type": "RepeatDataset", "dataset": second}, first)}
    assert names_of(first) == f"data set {one}" and bytes_of(first) == 10
    assert names_of(both) == f"data sets {one}, {other}" and bytes_of(both) == 17
    assert names_of(missing) == "data set none.json" and bytes_of(missing) == 0
    assert names_of({"type": "Mine"}) == "data set Mine" and bytes_of({"type": "Mine"}) == 0
    monkeypatch.chdir(tmp_path)
    assert bytes_of({"type": "CocoDataset", "ann_file": "a.json"}) == 10
    # as where the root of the whole counts for those within
    assert names_of({"type": "ConcatDataset", "data_root": "r", "datasets": [missing]}) == "data set r/none.json"


@pytest.mark.parametrize("wrapper", ["RepeatDataset", "ClassBalancedDataset", "mmdet.RepeatDataset"])
def test_what_repeats_images_is_not_evaluated_however_deep_it_lies(wrapper):
    repeated = {"type": wrapper, "dataset": LAMPS}
    both = {"type": "ConcatDataset", "datasets": [CUPS, {"type": "mmdet.ConcatDataset", "datasets": (repeated,)}]}
    name = wrapper.rpartition(".")[2]
    for dataset in (repeated, both):
        with pytest.raises(UserError, match=f"^val_dataloader.dataset has a {name}, but what is evaluated has each"):
            check_evaluated(dataset, "val_dataloader.dataset")


@pytest.mark.parametrize(
    "dataset",
    [
        CUPS,
        {"type": "ConcatDataset", "datasets": [CUPS, LAMPS]},
        {"type": "ConcatDataset", "datasets": None},
        {"type": "ConcatDataset", "datasets": ["none"]},
        {"type": "Mine", "datasets": [{"type": "RepeatDataset"}]},  # of which only its own code knows what it is
    ],
)
def test_anything_else_is(dataset):
    check_evaluated(dataset, "val_dataloader.dataset")
