"""``ProposalFile`` in EVALUATE: predictions are kept as proposals, in the order of the data set's images."""

import contextlib
import shutil

import numpy as np
import psutil
import pytest

from data_server.files.proposal_file import ProposalFile
from shared.errors import UserError
from tests.cluster import wait_for
from tests.data_server.proposals import MODEL
from tests.data_server.workers.test_evaluator import predictions_for, validation_batches
from tests.photos import IMAGES, config_of


def test_predictions_become_proposals_in_as_many_calls_as_it_takes(cluster, photos, tmp_path):
    client = cluster.open(config_of(photos, "val", batch_size=5), epochs=1)
    predictions = list(predictions_for(list(validation_batches(client, 3))))
    order = {"type": "ProposalFile", "folder": str(tmp_path), "model": MODEL, "about": "a test"}
    assert client.evaluate([], [{**order, "first": 0, "boxes": 300}]) == {"images_done": 0}
    assert client.evaluate(predictions[:1], [{**order, "first": 0}]) == {"images_done": 5}
    assert client.evaluate(predictions[1:], [{**order, "first": 5}]) == {"images_done": IMAGES}
    (path,) = tmp_path.iterdir()
    file = ProposalFile.open(path)
    assert path.name.startswith("all-") and file.model == MODEL
    np.testing.assert_array_equal(file.counts, np.concatenate([one["counts"] for one in predictions]))
    np.testing.assert_array_equal(file.rows[:, :4], np.concatenate([one["boxes"] for one in predictions]))


def evaluator_of(cluster) -> psutil.Process:
    """The youngest of the three children of the stream's nursery."""

    def found():
        with contextlib.suppress(psutil.NoSuchProcess):
            (children,) = (nursery.children() for nursery in cluster.nurseries())
            return len(children) == 3 and max(children, key=lambda child: child.create_time())

    return wait_for(found, 10)


@pytest.mark.parametrize("dies", [psutil.Process.kill, lambda evaluator: evaluator.parent().kill()])
def test_one_evaluator_keeps_all_and_its_death_loses_none(cluster, photos, tmp_path, dies):
    client = cluster.open(config_of(photos, "val", batch_size=1), epochs=1)
    predictions = list(predictions_for(list(validation_batches(client, IMAGES))))
    for name, interval in (("undisturbed", IMAGES), ("killed", 1)):
        order = {"type": "ProposalFile", "folder": str(tmp_path / name), "model": MODEL, "about": "a test"}
        killed = []
        for first, one in enumerate(predictions):
            assert client.evaluate([one], [{**order, "first": first}]) == {"images_done": first + 1}
            killed += [evaluator] if (evaluator := evaluator_of(cluster)) not in killed else []
            assert len(killed) == first // interval + 1
            if first % interval == interval - 1:
                dies(evaluator)
                evaluator.wait(120)
    (one,), (other,) = ((tmp_path / name).iterdir() for name in ("undisturbed", "killed"))
    assert one.read_bytes() == other.read_bytes()


def test_proposals_that_would_have_no_room_are_refused_before_there_are_any(cluster, photos, tmp_path):
    client = cluster.open(config_of(photos, "val"), epochs=1)
    boxes = shutil.disk_usage(tmp_path).free // 20
    order = {"type": "ProposalFile", "folder": str(tmp_path / "new"), "model": MODEL, "about": "", "first": 0}
    with pytest.raises(UserError, match=rf"proposals of 12 images, up to {boxes} boxes .* in {tmp_path}, where"):
        client.evaluate([], [{**order, "boxes": boxes}])
    assert not list(tmp_path.iterdir())


def test_predictions_of_more_images_than_there_are_are_refused(cluster, photos, tmp_path):
    client = cluster.open(config_of(photos, "val", batch_size=5), epochs=1)
    predictions = list(predictions_for(list(validation_batches(client, 3))))
    order = {"type": "ProposalFile", "folder": str(tmp_path / "new"), "model": MODEL, "about": "a test", "first": 0}
    with pytest.raises(UserError, match=r"proposals of 17 images for .*; the data set has 12"):
        client.evaluate([*predictions, predictions[0]], [order])


def test_a_folder_that_cannot_be_written_to_is_named(cluster, photos, tmp_path):
    (tmp_path / "file").write_text("")
    client = cluster.open(config_of(photos, "val", batch_size=5), epochs=1)
    predictions = list(predictions_for(list(validation_batches(client, 1))))
    order = {"type": "ProposalFile", "folder": str(tmp_path / "file" / "new"), "model": MODEL, "about": "", "first": 0}
    with pytest.raises(UserError, match=r"cannot write .*; free some space, or choose another proposal_dir"):
        client.evaluate(predictions, [order])
