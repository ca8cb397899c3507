"""Stage 1's boxes in stage 2's stream: whose they are, where a pipeline moves them, what is refused."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_server.files import proposal_list
from data_server.files.image_names import ImageNames
from data_server.files.proposal_file import Writer
from shared.arena import slot_bytes_for
from shared.batch import layout_of
from shared.errors import UserError
from tests.cluster import digests, wait_for
from tests.data_server.proposals import MODEL, true_boxes, write
from tests.photos import EMPTY, IMAGES, TRAIN_PIPELINE, VAL_PIPELINE, annotations_of, config_of, write_annotations

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
PROPOSALS = {"type": "LoadProposals", "load_score": True}
STEPS = 24


@pytest.fixture
def folder(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    return tmp_path / "set"


def config_with(folder, file, split="train", step=PROPOSALS, **options):
    pipeline = TRAIN_PIPELINE if split == "train" else VAL_PIPELINE
    return config_of(folder, split, pipeline=(LOAD, step, *pipeline[1:]), proposal_file=str(file), **options)


def batches(client, steps=STEPS):
    for _ in range(steps):
        lease = client.next()
        yield {name: array.copy() for name, array in lease.arrays.items()}
        lease.release()


def refusal(cluster, config) -> str:
    with pytest.raises(UserError) as caught:
        digests(cluster.open(config), IMAGES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_proposals_are_resized_clipped_and_flipped_exactly_as_true_boxes_are(cluster, folder):
    client = cluster.open(config_with(folder, write(folder), batch_size=1))
    flips = set()
    for arrays in batches(client):
        count = int(arrays["box_counts"][0]) + int(arrays["ignored"][0].sum())
        assert arrays["proposal_counts"][0] == count
        ours, theirs = arrays["proposals"][0, :count], arrays["boxes"][0, :count]
        np.testing.assert_array_equal(ours[:, :4], theirs)
        np.testing.assert_allclose(ours[:, 4], 0.9 - 0.1 * np.arange(count))
        assert not arrays["proposals"][0, count:].any()
        flips.add(int(arrays["flipped"][0]))
    assert flips == {0, 1}


def test_a_proposal_beyond_the_image_is_clipped_and_an_inverted_one_stays_inverted(cluster, folder):
    rows = np.array([[-5, 10, 200, 300, 0.5], [30, 20, 10, 40, 0.25]], np.float32)
    file = write(folder, dict.fromkeys(range(100, 100 + IMAGES), rows))
    for arrays in batches(cluster.open(config_with(folder, file, batch_size=1)), 12):
        height, width = arrays["image_shapes"][0]
        scale, (beyond, inverted) = arrays["scale_factors"][0], arrays["proposals"][0, :2]
        assert beyond.tolist() == [0, np.float32(10) * scale[1], width, height, 0.5]
        x1, x2 = 30 * scale[0], 10 * scale[0]
        expected = [width - x2, 20 * scale[1], width - x1, 40 * scale[1]] if arrays["flipped"][0] else None
        expected = expected or [x1, 20 * scale[1], x2, 40 * scale[1]]
        np.testing.assert_allclose(inverted, [*expected, 0.25], rtol=1e-5)


def test_a_crop_takes_proposals_along(cluster, folder):
    crop = {"type": "RandomCrop", "crop_size": (40, 50), "allow_negative_crop": True}
    pipeline = (LOAD, PROPOSALS, BOXES, crop, PACK)
    file, moved = write(folder), 0
    config = config_of(
        folder, batch_size=1, pipeline=pipeline, proposal_file=str(file), feed={"max_image_size": (64, 64)}
    )
    for arrays in batches(cluster.open(config), 12):
        found = {tuple(row) for row in arrays["proposals"][0, :, :4].tolist()}
        boxes = arrays["boxes"][0, : arrays["box_counts"][0]].tolist()
        assert all(tuple(box) in found for box in boxes)  # a crop drops boxes, never proposals
        truth = true_boxes(folder)[int(arrays["image_ids"][0])][:, :4].tolist()
        moved += any(box not in truth for box in boxes)
    assert moved


def test_an_image_without_proposals_has_an_empty_one_at_its_corner_as_in_unidetector(cluster, folder):
    client = cluster.open(config_with(folder, write(folder), "val", batch_size=1))
    empty = list(batches(client, IMAGES))[EMPTY]
    assert empty["proposal_counts"].tolist() == [1] and not empty["proposals"].any()


def test_the_first_so_many_are_taken_and_scores_only_where_asked_for(cluster, folder):
    step = {"type": "LoadProposals", "num_max_proposals": 2}
    client = cluster.open(config_with(folder, write(folder), "val", step, batch_size=1))
    truth = true_boxes(folder)
    for arrays in batches(client, IMAGES):
        rows = truth[int(arrays["image_ids"][0])][:2]
        count = arrays["proposal_counts"][0]
        assert count == max(1, len(rows))
        if len(rows):
            scaled = rows[:, :4] * arrays["scale_factors"][0]
            np.testing.assert_array_equal(arrays["proposals"][0, :count, :4], scaled)
            assert (arrays["proposals"][0, :count, 4] == 1).all()


def test_the_slot_has_room_for_the_most_proposals_and_every_batch_the_same_shape(cluster, folder):
    truth = true_boxes(folder)
    truth[103] = np.tile(np.array([[1, 1, 9, 9, 0.5]], np.float32), (21, 1))
    client = cluster.open(config_with(folder, write(folder, truth), batch_size=2))
    assert client.welcome.slot_bytes == slot_bytes_for(layout_of(2, 96, 128, 8, 21).nbytes)
    assert {arrays["proposals"].shape for arrays in batches(client, 6)} == {(2, 24, 5)}


def test_without_load_proposals_no_batch_has_any(cluster, photos):
    arrays = next(batches(cluster.open(config_of(photos)), 1))
    assert not [name for name in arrays if "proposal" in name]


def test_neither_the_order_of_the_file_nor_the_filter_of_the_data_set_matters(cluster, folder):
    shuffled = write(folder, order=np.random.default_rng(0).permutation(IMAGES), title="shuffled")
    first = digests(cluster.open(config_with(folder, write(folder))), 5)
    assert digests(cluster.open(config_with(folder, shuffled)), 5) == first


def test_a_pickled_list_in_the_order_of_all_images_gives_the_same_stream(cluster, folder):
    truth = true_boxes(folder)
    arrays = [truth[image["id"]] for image in annotations_of(folder)["images"]]
    first = digests(cluster.open(config_with(folder, write(folder))), 5)
    for protocol in (2, 4, 5):
        path = folder / f"rp_{protocol}.pkl"
        path.write_bytes(pickle.dumps(arrays, protocol))
        assert digests(cluster.open(config_with(folder, path)), 5) == first
    proposal_list.write(folder / "rp.pkl", arrays)
    theirs = pickle.loads((folder / "rp.pkl").read_bytes())
    assert all((a == b).all() and b.dtype == np.float32 for a, b in zip(arrays, theirs, strict=True))


def test_a_folder_stands_for_its_newest_file_of_these_images(cluster, folder):
    other = {identity: rows + 1 for identity, rows in true_boxes(folder).items()}
    newest = write(folder)
    older = write(folder, other, model="00" * 16)
    content = annotations_of(folder)
    elsewhere = ImageNames.of((image["id"], "elsewhere/x.jpg") for image in content["images"])
    strange = Writer(folder / "proposals", "other", elsewhere, MODEL, "")
    strange.append(0, np.zeros(IMAGES, np.int64), np.zeros((0, 5), np.float32))
    strange.finish()
    os.utime(older, (1, 1))
    right = digests(cluster.open(config_with(folder, newest)), 3)
    assert digests(cluster.open(config_with(folder, folder / "proposals")), 3) == right
    wrong = digests(cluster.open(config_with(folder, folder / "proposals", proposal_model="0000")), 3)
    assert wrong != right and wrong == digests(cluster.open(config_with(folder, older)), 3)


def test_other_proposals_are_another_fingerprint(cluster, folder):
    fingerprints = {
        cluster.open(config_with(folder, write(folder, model=model))).welcome.fingerprint
        for model in (MODEL, "00" * 16)
    }
    fingerprints.add(cluster.open(config_of(folder)).welcome.fingerprint)
    assert len(fingerprints) == 3


def test_proposals_of_other_images_are_refused_by_the_first_that_is_missing(cluster, folder):
    file = write(folder)
    content = annotations_of(folder)
    content["images"][4]["file_name"] = "new.jpg"
    content["images"][7]["id"] = 999
    for one in content["annotations"]:
        one["image_id"] = 999 if one["image_id"] == 107 else one["image_id"]
    write_annotations(folder, content)
    text = refusal(cluster, config_with(folder, file))
    assert (
        "none for 2 of the data set's 11 images, the first is 'images/new.jpg', id 104;" in text
        and "trainer propose" in text
    )
    content["images"][4]["file_name"] = "04.jpg"
    write_annotations(folder, content)
    text = refusal(cluster, config_with(folder, file))
    assert "'images/07.jpg', id 999 (it has an image of that name with another id)" in text
    assert "no file for this data set" in refusal(cluster, config_with(folder, folder / "proposals"))


def test_a_pickled_list_of_fewer_images_is_refused_with_both_numbers(cluster, folder):
    (folder / "rp.pkl").write_bytes(pickle.dumps([np.zeros((1, 5), np.float32)] * 11))
    assert "it has 11 entries, annotation file" in refusal(cluster, config_with(folder, folder / "rp.pkl"))


def test_proposals_of_another_model_than_the_one_asked_for_are_refused(cluster, folder):
    text = refusal(cluster, config_with(folder, write(folder), proposal_model="ab"))
    assert f"made by model {MODEL}, proposal_model='ab' is asked for" in text


def test_a_proposal_that_is_no_box_is_named(cluster, folder):
    truth = true_boxes(folder)
    truth[103][0, 2] = np.nan
    text = refusal(cluster, config_with(folder, write(folder, truth)))
    assert "proposal 0 of the data set's image 3 is [" in text and "nan" in text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"proposal_file": "gone.pkl"}, "'gone.pkl': there is neither '.*gone.pkl' nor '.*set/gone.pkl'"),
        ({"proposal_file": "x" * 300}, "there is neither '.*/x{300}' nor '.*set/x{300}'"),
        ({}, "has LoadProposals in its pipeline and no proposal_file"),
        ({"proposal_file": "all.json", "pipeline": TRAIN_PIPELINE}, "has proposal_file and no LoadProposals"),
        ({"pipeline": ({**PROPOSALS, "num_max": 1}, *TRAIN_PIPELINE), "proposal_file": "x"}, "unknown key 'num_max'"),
        ({"pipeline": (PROPOSALS, {"type": "Expand"}, *TRAIN_PIPELINE), "proposal_file": "x"}, "Expand moves the"),
        ({"proposal_file": "all.json"}, "its pickle is damaged"),
    ],
)
def test_a_config_that_cannot_be_served_is_refused(cluster, folder, keys, message):
    keys = {"pipeline": (LOAD, PROPOSALS, *TRAIN_PIPELINE[1:]), **keys}
    with pytest.raises(UserError, match=message):
        cluster.open(config_of(folder, **keys))


def test_all_workers_share_one_map_of_the_file(cluster, folder):
    file = write(folder)
    next(batches(cluster.open(config_with(folder, file)), 1))
    workers = wait_for(lambda: len(cluster.workers()) == 2 and cluster.workers(), 5)
    for worker in workers:
        (line,) = [
            line for line in (Path("/proc") / str(worker.pid) / "maps").read_text().splitlines() if str(file) in line
        ]
        assert line.split()[1] == "r--s"
