import pytest
from mmengine.config import Config

from shared.codec import decode, encode
from shared.data_part import check_data_part, data_part, evaluator_part, from_plain
from shared.errors import UserError
from shared.messages import Evaluate

DATASET = {"type": "CocoDataset", "ann_file": "all.json", "pipeline": [{"type": "Resize", "scale": (1333, 800)}]}
LOADER = {"batch_size": 2, "dataset": DATASET}


def settings(**changes):
    return Config({"train_dataloader": LOADER, "val_dataloader": LOADER, "model": {}, **changes})


def test_the_data_part_survives_the_wire_with_its_tuples():
    part = data_part(settings(feed={"max_image_size": (800, 1344)}), "train")
    (wired,) = decode(encode(Evaluate([part])), Evaluate).evaluator
    check_data_part(wired)
    restored = from_plain(wired)
    assert restored["dataset"]["pipeline"][0]["scale"] == (1333, 800)
    assert restored["feed"]["max_image_size"] == (800, 1344)
    assert restored["feed"]["credits"] == 2


def test_a_training_stream_is_shuffled_and_a_validation_stream_is_not():
    train, val = data_part(settings(), "train"), data_part(settings(), "val")
    assert (train["shuffle"], train["training"]) == (True, True)
    assert (val["shuffle"], val["training"]) == (False, False)


def test_a_model_without_a_divisor_has_pictures_padded_to_no_multiple_as_in_mmdetection():
    for preprocessor, divisor in ((None, 1), ({"type": "DetDataPreprocessor"}, 1), ({"pad_size_divisor": 64}, 64)):
        part = data_part(settings(model={"data_preprocessor": preprocessor}), "train")
        assert part["size_divisor"] == divisor


def test_the_metrics_that_a_trainer_will_ask_for_go_along():
    metric, other = {"type": "CocoMetric"}, {"type": "LVISMetric"}
    config = settings(val_evaluator=metric, test_evaluator=[metric, other], test_dataloader=LOADER)
    found = {split: data_part(config, split)["evaluators"] for split in ("train", "val", "test")}
    assert found == {"train": [metric, metric, other], "val": [metric], "test": [metric, other]}
    assert data_part(settings(test_evaluator=metric), "train")["evaluators"] == []  # nothing to be judged


def test_the_top_level_data_root_reaches_every_data_set_that_names_none():
    both = {"type": "ConcatDataset", "datasets": [DATASET, {**DATASET, "data_root": "own"}]}
    repeated = {"type": "RepeatDataset", "times": 2, "dataset": both}
    config = settings(data_root="top", train_dataloader={"batch_size": 1, "dataset": repeated})
    parts = data_part(config, "train")["dataset"]["dataset"]["datasets"]
    assert [part["data_root"] for part in parts] == ["top", "own"]


def test_what_is_missing_from_a_dataloader_is_named():
    with pytest.raises(UserError, match=r"'train_dataloader.dataset' is missing"):
        data_part(settings(train_dataloader={"batch_size": 1}), "train")
    with pytest.raises(UserError, match=r"has no 'test_dataloader' \(did you mean"):
        data_part(settings(), "test")


def test_a_config_value_that_is_no_plain_data_is_shown():
    dataset = {**DATASET, "pipeline": [{"type": "Lambda", "lambd": len}]}
    with pytest.raises(UserError, match=r"config value <built-in function len>: .* plain data only"):
        data_part(settings(train_dataloader={"batch_size": 1, "dataset": dataset}), "train")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": None}, "'dataset' is None; expected a dict"),
        ({"shuffle": 1}, "'shuffle' is 1; expected True or False"),
        ({"batch_size": 0}, "'batch_size' is 0; expected 1 or more"),
        ({"sampler": "TrackImgSampler"}, "'sampler' is 'TrackImgSampler'; expected 'DefaultSampler' or 'Infinite"),
        ({"sampler": "MultiSourceSampler"}, "'source_batch_size' is missing; MultiSourceSampler needs it"),
        ({"sampler": "CustomSampleSizeSampler"}, "'dataset_size' is missing"),
        ({"dataset_size": [0.5]}, r"sampler.dataset_size has 0.5: .* ratio_mode=True"),
        ({"source_ratio": [float("nan")]}, "'source_ratio' is .nan.; expected a list of numbers"),
        (
            {"sampler": "GroupMultiSourceSampler", "source_batch_size": 3, "source_ratio": [9, 1]},
            r"of sampler.batch_size=3 that is \[3, 0\] images .* each needs one at least",
        ),
        ({"size_divisor": -32}, "'size_divisor' is -32; expected 1 or more"),
        ({"feed": {}}, r"'feed' has keys \[\]"),
    ],
)
def test_a_data_part_that_another_program_made_up_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        check_data_part({**data_part(settings(), "train"), **change})


@pytest.mark.parametrize(
    "wrapper", [{"type": "RepeatDataset", "times": 2}, {"type": "mmdet.ClassBalancedDataset", "oversample_thr": 0.1}]
)
def test_what_is_evaluated_has_each_image_once_which_is_known_before_anything_is_read(wrapper):
    wrapped = {"batch_size": 2, "dataset": {**wrapper, "dataset": DATASET}}
    both = {"batch_size": 2, "dataset": {"type": "ConcatDataset", "datasets": (DATASET, wrapped["dataset"])}}
    assert data_part(settings(train_dataloader=both), "train")["training"]
    for loader in (wrapped, both):
        with pytest.raises(UserError, match=r"'test_dataloader\.dataset' has a (Repeat|ClassBalanced)Dataset"):
            data_part(settings(test_dataloader=loader), "test")
        with pytest.raises(UserError, match="data part of the config: 'dataset' has a"):
            check_data_part({**data_part(settings(train_dataloader=loader), "train"), "training": False})


@pytest.mark.parametrize("wrong", ["all.json", 3, [DATASET], {"type": "ConcatDataset", "datasets": ["all.json"]}])
def test_a_data_set_that_is_none_is_named_with_its_key(wrong):
    with pytest.raises(UserError, match=r"_dataloader\.dataset' is .*; expected a dict|datasets is \['all.json'\]"):
        data_part(settings(train_dataloader={"batch_size": 2, "dataset": wrong}), "train")


def test_metrics_are_a_list_of_dicts_with_types():
    metric = {"type": "CocoMetric", "proposal_nums": (10, 100, 300)}
    assert from_plain(evaluator_part(settings(val_evaluator=metric), "val")) == [metric]
    assert from_plain(evaluator_part(settings(val_evaluator=[metric, metric]), "val")) == [metric, metric]
    for wrong in ("CocoMetric", [{"metric": "bbox"}]):
        with pytest.raises(UserError, match=r"'val_evaluator' holds .*; expected a dict with 'type'"):
            evaluator_part(settings(val_evaluator=wrong), "val")
