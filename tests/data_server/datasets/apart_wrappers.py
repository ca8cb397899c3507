"""Nested data sets: their images come as MMEngine's own wrappers hand them out."""

import copy
import random
from types import SimpleNamespace

import pytest
from mmengine.config import ConfigDict
from mmengine.dataset import ClassBalancedDataset
from mmengine.registry import DATASETS, DefaultScope

from data_server.datasets import samples
from data_server.workers import purity
from shared.data_part import from_plain
from shared.errors import UserError
from tests.data_server.judging import built
from tests.photos import IMAGES, annotations_of, config_of, write_annotations


@pytest.fixture(scope="module")
def leaves(photos, tmp_path_factory):
    """Three data sets with images and classes in common: 12, 9 and 5 images; few have a shoe."""
    found = []
    for number, count in enumerate((IMAGES, 9, 5)):
        folder = tmp_path_factory.mktemp("leaf")
        content = annotations_of(photos)
        content["images"] = content["images"][:count]
        content["annotations"] = [
            {**one, "category_id": 1 + one["category_id"] % 2 if one["id"] % 5 else 3}
            for one in content["annotations"]
            if one["image_id"] < 100 + count
        ]
        write_annotations(folder, content)
        config = from_plain(config_of(photos, ann_file=str(folder / "all.json"), data_root=str(photos))["dataset"])
        found.append({**config, "filter_cfg": {"filter_empty_gt": number == 0}})
    return found


def train(dataset, **changes):
    return {**config_of("."), "dataset": dataset, **changes}


def nested(draw, leaves, depth):
    kind = draw.choice(("leaf", "repeat", "balance", "concat", "concat")) if depth else "leaf"
    if kind == "leaf":
        return copy.deepcopy(draw.choice(leaves))
    if kind == "concat":
        return {
            "type": draw.choice(("ConcatDataset", "mmdet.ConcatDataset")),
            "datasets": [nested(draw, leaves, depth - 1) for _ in range(draw.randint(1, 3))],
        }
    within = nested(draw, leaves, depth - 1)
    if kind == "repeat":
        return {"type": "RepeatDataset", "times": draw.randint(1, 3), "dataset": within}
    return {"type": "ClassBalancedDataset", "oversample_thr": draw.choice((1e-3, 0.3, 0.5, 2.0)), "dataset": within}


class Listed(list):
    """(file, labels) of each image, as MMEngine asks a data set for the latter."""

    def get_cat_ids(self, index):
        return self[index][1]


def reference(config):
    """What MMEngine's wrappers hand out; its ClassBalancedDataset itself takes no wrapper, its formula does."""
    kind = config["type"].rpartition(".")[2]
    if kind == "ConcatDataset":
        return Listed(one for inner in config["datasets"] for one in reference(inner))
    if kind == "RepeatDataset":
        return Listed(reference(config["dataset"]) * config["times"])
    if kind == "ClassBalancedDataset":
        inner, threshold = reference(config["dataset"]), config["oversample_thr"]
        factors = ClassBalancedDataset._get_repeat_factors(SimpleNamespace(dataset=inner), inner, threshold)
        return Listed(one for one, factor in zip(inner, factors, strict=True) for _ in range(-int(-factor // 1)))
    dataset = DATASETS.build(ConfigDict(config))
    return Listed(
        (dataset.get_data_info(index)["img_path"], dataset.get_cat_ids(index)) for index in range(len(dataset))
    )


def paths(datasets):
    return [part.image_path(place) for part, place in map(datasets.locate, range(len(datasets)))]


@pytest.mark.parametrize("seed", range(20))
def test_images_come_in_the_order_of_mmengines_wrappers(leaves, seed):
    DefaultScope.get_instance("test", scope_name="mmdet")
    config = nested(random.Random(seed), leaves, 3)
    datasets = built(train(copy.deepcopy(config)))
    expected = [path for path, _ in reference(config)]
    assert paths(datasets) == expected and len(datasets) == len(expected) == sum(datasets.sizes)
    sizes = [part.picture(place)[1:] for part, place in map(datasets.locate, range(len(datasets)))]
    assert [tuple(size) for size in datasets.image_sizes.tolist()] == sizes


@pytest.mark.parametrize("seed", range(12))
def test_the_images_of_a_class_are_those_that_mmengines_wrappers_say(leaves, seed):
    DefaultScope.get_instance("test", scope_name="mmdet")
    config = nested(random.Random(seed), leaves, 3)
    found = built(train(copy.deepcopy(config))).by_class()
    labels = [labels for _, labels in reference(config)]
    expected = [[index for index, some in enumerate(labels) if label in some] for label in range(len(found))]
    assert [images.tolist() for images in found] == expected and sum(map(len, expected))


@pytest.mark.parametrize(
    "wrapper", [{"type": "RepeatDataset", "times": 3}, {"type": "ClassBalancedDataset", "oversample_thr": 0.5}]
)
def test_a_wrapper_around_one_data_set_is_mmdetections_own(leaves, wrapper):
    DefaultScope.get_instance("test", scope_name="mmdet")
    config = {**wrapper, "dataset": leaves[0]}
    theirs = DATASETS.build(ConfigDict(copy.deepcopy(config)))
    expected = [theirs.get_data_info(index)["img_path"] for index in range(len(theirs))]
    assert len(expected) > len(theirs.dataset)
    assert paths(built(train(copy.deepcopy(config)))) == expected


def test_an_image_is_first_where_nothing_before_is_it_and_nowhere_where_it_is_left_out(leaves):
    config = {"type": "RepeatDataset", "times": 3, "dataset": {"type": "ConcatDataset", "datasets": leaves[:2]}}
    datasets = built(train(copy.deepcopy(config)))
    everything = [datasets.locate(index) for index in range(len(datasets))]
    for part in datasets.parts:
        for row in range(len(part)):
            assert datasets.first_index(part, row) == everything.index((part, row))
    datasets._order = datasets._order[1:2]
    assert datasets.first_index(*everything[0]) is None and datasets.first_index(*everything[1]) == 0


def test_a_repeated_image_is_the_same_image_with_the_same_name_and_labels(leaves):
    both = {"type": "ConcatDataset", "datasets": [leaves[1], leaves[2]]}
    datasets = built(train({"type": "RepeatDataset", "times": 2, "dataset": both}))
    first, again = samples.load(datasets, 9, 7), samples.load(datasets, 9 + 14, 7)
    assert first.image_id == again.image_id == 100 and (first.image == again.image).all()
    assert (first.labels == again.labels).all() and first.dataset_id == again.dataset_id == 1
    assert samples.load(datasets, 0, 7).dataset_id == 0
    assert datasets.sizes == [18, 10] and datasets.is_mixed


def test_balancing_goes_by_the_classes_of_the_file_where_boxes_are_class_agnostic(leaves):
    config = {"type": "ClassBalancedDataset", "oversample_thr": 0.5}
    plain = built(train({**config, "dataset": leaves[0]}))
    agnostic = built(train({**config, "dataset": {**leaves[0], "class_agnostic": True}}))
    assert paths(agnostic) == paths(plain) and len(plain) > len(plain.parts[0])
    assert not samples.load(agnostic, 0, 0).labels.any()


def test_another_number_of_repetitions_is_another_fingerprint(leaves):
    found = {
        built(train({"type": "RepeatDataset", "times": times, "dataset": leaves[0]})).fingerprint for times in (1, 2, 3)
    }
    assert len(found) == 3 and built(train(leaves[0])).fingerprint in found


def test_a_share_is_drawn_from_wrapped_data_sets_but_not_from_mixed_ones(leaves):
    from data_server.datasets.bounds import gather

    wrapped = [{"type": "RepeatDataset", "times": 2, "dataset": one} for one in leaves[1:]]
    config = train({"type": "ConcatDataset", "datasets": wrapped}, source_ratio=[1, 3])
    assert gather(built(config), config).sizes == [18, 10]
    config = train({"type": "RepeatDataset", "times": 2, "dataset": {"type": "ConcatDataset", "datasets": leaves[1:]}})
    gather(built(config), config)
    with pytest.raises(UserError, match=r"sampler\.source_ratio .* put a wrapper around each data set instead"):
        gather(built(config), {**config, "source_ratio": [1, 3]})


def test_purity_is_checked_of_every_data_set_behind_wrappers(leaves, monkeypatch):
    both = {"type": "ConcatDataset", "datasets": leaves[1:]}
    datasets = built(train({"type": "RepeatDataset", "times": 2, "dataset": both}))
    compared = []
    monkeypatch.setattr(purity, "_is_known", lambda _: False)
    monkeypatch.setattr(
        purity, "_compare", lambda all_of, some: compared.append({all_of.locate(index)[0] for index, _ in some})
    )
    purity.check(datasets)
    assert compared == [{part} for part in datasets.parts]
