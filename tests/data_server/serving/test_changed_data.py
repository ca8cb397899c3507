"""Files that are changed under a running stream: it fails when its data set is built again and is another."""

import copy
import os

import pytest

from data_server.files.index import cache
from shared.errors import UserError
from tests.cluster import digests, wait_for
from tests.photos import TRAIN_PIPELINE, annotations_of, config_of, draw, write_annotations

STEPS = 12


def labels(content):
    for one in content["annotations"]:
        one["category_id"] = 1 + one["category_id"] % 3


def boxes(content):
    for one in content["annotations"]:
        one["bbox"][0] += 5


def fewer(content):
    kept = {image["id"] for image in content["images"][:5]}
    content["images"] = content["images"][:5]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]


def names(content):
    content["categories"][0]["name"] = "hat"


def order(content):
    content["images"].reverse()


CHANGES = {
    labels: r"its annotations are others \(fingerprint 2-\w+, was 2-\w+\)",
    boxes: "its annotations are others",
    fewer: "it has 5 images, it had 11",
    names: "it has other classes",
    order: "its annotations are others",
}


@pytest.fixture
def folder(tmp_path):
    return draw(tmp_path / "set")


def config_for(folder):
    """Of a stream whose workers are always met at work; its classes are those of the file."""
    pipeline = (*TRAIN_PIPELINE[:-1], {"type": "Slow"}, TRAIN_PIPELINE[-1])
    imports = {"imports": ["tests.data_server.transforms"]}
    return config_of(folder, pipeline=pipeline, custom_imports=imports, metainfo=None)


def kill_nursery(cluster):
    (nursery,) = wait_for(cluster.nurseries, 5)
    nursery.kill()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_data_set_that_is_another_when_it_is_built_again_ends_the_stream_by_its_name(cluster, folder, change):
    wait_for(cluster.is_idle, 5)
    client = cluster.open(config_for(folder))
    digests(client, 2)
    content = copy.deepcopy(annotations_of(folder))
    change(content)
    write_annotations(folder, content)
    kill_nursery(cluster)
    said = rf"^data set {folder}/all.json: changed while it was in use: {CHANGES[change]}.*; put the files back, or"
    with pytest.raises(UserError, match=said):
        digests(client, 1000)
    wait_for(cluster.is_idle, 5)


def after_two_steps(cluster, folder):
    """A stream, its digests after the first two steps, and those of all steps."""
    wait_for(cluster.is_idle, 5)
    undisturbed = digests(cluster.open(config_for(folder)), STEPS)
    cluster.close_streams()
    wait_for(cluster.is_idle, 5)
    client = cluster.open(config_for(folder))
    return client, digests(client, 2), undisturbed


def test_a_file_that_is_written_again_as_it_was_ends_nothing(cluster, folder):
    client, found, undisturbed = after_two_steps(cluster, folder)
    write_annotations(folder, annotations_of(folder))
    kill_nursery(cluster)
    assert found + digests(client, STEPS - 2) == undisturbed


def test_an_index_that_is_cut_short_under_its_workers_is_named_and_made_again(cluster, folder):
    client, found, undisturbed = after_two_steps(cluster, folder)
    for column in cache.folder().glob("*/annotation.*.npy"):
        os.truncate(column, 0)
    assert found + digests(client, STEPS - 2) == undisturbed
    (said,) = [one for one in cluster.notices if one.startswith("cut short while in use: ")]
    assert str(cache.folder()) in said
    assert not cluster.quarantined
