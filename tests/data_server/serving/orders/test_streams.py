"""Samplers and the data sets of a stream: what goes together, and what a batch of ClassAwareSampler has."""

import pytest

from shared.errors import UserError
from shared.samplers import sampling
from tests.photos import config_of

DRAW = {"batch_size": 3, "source_ratio": [1, 2]}


def config_for(photos, dataloader, batch_size=3):
    """The data part of two data sets and this dataloader."""
    part = config_of(photos)
    both = {"type": "ConcatDataset", "datasets": [part["dataset"], part["dataset"]]}
    dataloader = {"batch_size": batch_size, **dataloader}
    return {**part, "dataset": both, "batch_size": batch_size, **sampling(dataloader, "train")}


def test_images_of_one_class_after_the_other_are_those_of_the_annotations(cluster, photos):
    """With as many images of a class in a row as a batch has, all images of a batch have the class."""
    config = config_for(photos, {"sampler": {"type": "ClassAwareSampler", "num_sample_class": 3}})
    client = cluster.open(config)
    common = []
    for _ in range(30):
        lease = client.next()
        labels = [
            set(row[:count].tolist())
            for row, count in zip(lease.arrays["labels"], lease.arrays["box_counts"], strict=True)
        ]
        lease.release()
        common.append(set.intersection(*labels))
    # one batch of each epoch of 8 is filled up, with images of another class
    assert sum(map(bool, common)) >= 26 and {0, 1, 2} == set.union(*common)


@pytest.mark.parametrize(
    ("dataloader", "batch_size", "said"),
    [
        ({"num_batch_per_epoch": 9}, 3, "num_batch_per_epoch takes 27 images of batches of 3, and there are 22"),
        ({"drop_last": True}, 23, "drop_last=True leaves nothing: no 23 of the 22 images"),
        ({"sampler": {"type": "CustomSampleSizeSampler", "dataset_size": [12, 1]}}, 3, "asks for 12 images of a data"),
        (
            {"sampler": {"type": "CustomSampleSizeSampler", "dataset_size": [3]}},
            3,
            "dataset_size is .3.; expected 2 num",
        ),
        (
            {"sampler": {"type": "CustomSampleSizeSampler", "dataset_size": [0, 0]}},
            3,
            "leaves 0 images, of which no batch is made",
        ),
        (
            {"sampler": {"type": "MultiSourceSampler", "batch_size": 3, "source_ratio": [1, 1, 1]}},
            3,
            "expected 2 numbers",
        ),
    ],
)
def test_what_does_not_go_with_the_data_sets_is_refused(cluster, photos, dataloader, batch_size, said):
    with pytest.raises(UserError, match=said):
        cluster.open(config_for(photos, dataloader, batch_size))


def test_an_epoch_may_have_as_many_batches_as_there_are_images_for(cluster, photos):
    stream = cluster.open(config_for(photos, {"num_batch_per_epoch": 11}, 2))
    assert stream.welcome.steps_per_epoch == 11


def test_a_sampler_of_several_data_sets_needs_several(cluster, photos):
    part = config_for(photos, {"sampler": {"type": "MultiSourceSampler", **DRAW}})
    with pytest.raises(UserError, match=r"MultiSourceSampler goes by the data sets of a ConcatDataset; .* CocoDataset"):
        cluster.open({**part, "dataset": part["dataset"]["datasets"][0]})
    repeated = {"type": "RepeatDataset", "times": 2, "dataset": part["dataset"]}  # one, the other, one, the other
    mixed = {"type": "ConcatDataset", "datasets": [repeated, part["dataset"]["datasets"][0]]}
    with pytest.raises(
        UserError, match=r"source_ratio draws from each .*; here a wrapper around the ConcatDataset mixes"
    ):
        cluster.open({**part, "dataset": mixed})
    wide_only = [{**part["dataset"]["datasets"][0], "indices": list(range(6))}, part["dataset"]["datasets"][1]]
    grouped = config_for(photos, {"sampler": {"type": "GroupMultiSourceSampler", **DRAW}})
    with pytest.raises(UserError, match=r"one of them has only one kind, .* use MultiSourceSampler"):
        cluster.open({**grouped, "dataset": {"type": "ConcatDataset", "datasets": wide_only}})
