"""The trainer's end of a stream: what a checkpoint remembers of it, and what is noted on disk."""

import itertools
import json
import os
import re
import shutil
import tempfile

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from shared.arena import SlotCorrupted
from shared.client import ServerGone
from shared.data_part import data_part
from shared.errors import UserError
from tests.cluster import arena_of, wait_for
from tests.photos import CLASSES, TRAIN_PIPELINE, VAL_PIPELINE, annotations_of, draw, write_annotations
from trainer.evaluation.predictions import keep
from trainer.feed.feed import Feed
from trainer.feed.server import connect
from trainer.process.ranks import ALONE, Ranks

STEPS_PER_EPOCH = 6


def config_for(folder, pipeline=TRAIN_PIPELINE, feed=None, evaluator=None):
    """A trainer's config for the data set in `folder`."""
    dataset = {
        "type": "CocoDataset",
        "data_root": str(folder),
        "ann_file": "all.json",
        "data_prefix": {"img": "images/"},
        "metainfo": {"classes": tuple(CLASSES)},
        "filter_cfg": {"filter_empty_gt": True},
        "pipeline": list(pipeline),
    }
    return Config(
        {
            "train_dataloader": {
                "batch_size": 2,
                "batch_sampler": {"type": "AspectRatioBatchSampler"},
                "dataset": dataset,
            },
            "val_dataloader": {"batch_size": 4, "dataset": {**dataset, "pipeline": list(VAL_PIPELINE)}},
            "val_evaluator": evaluator or {"type": "CocoMetric", "metric": "bbox"},
            "model": {"data_preprocessor": {"pad_size_divisor": 32}},
            "feed": {"linger_seconds": 0, **(feed or {})},
            "custom_imports": {"imports": ["tests.data_server.transforms"]},
        }
    )


@pytest.fixture
def server(cluster):
    with connect(cluster.address.text, None, lambda _: None) as found:
        yield found


def run(server, config, work_dir, batches, record=None, cursor=(0, 0)):
    """Takes some batches; returns the record at the end and what was said."""
    said = []
    epoch, step = cursor
    feed = Feed(server, config, "train", work_dir, said.append, seed=3, epoch=epoch, step=step, record=record)
    steps = [batch.step for _, batch in zip(range(batches), feed, strict=False)]
    feed.close()
    first = epoch * STEPS_PER_EPOCH + step
    assert steps == list(range(first, first + batches))
    return feed.record, said


@pytest.mark.parametrize("stop", [1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 2])
def test_a_resumed_stream_has_the_digest_of_one_that_never_stopped(server, photos, tmp_path, stop):
    config = config_for(photos)
    whole, _ = run(server, config, tmp_path, 10)
    half, _ = run(server, config, tmp_path, stop)
    resumed, said = run(server, config, tmp_path, 10 - stop, half, divmod(stop, STEPS_PER_EPOCH))
    assert resumed == whole
    assert not [line for line in said if "warning" in line]


def of_ranks(size):
    found = [Ranks() for _ in range(size)]
    for number, one in enumerate(found):
        one.rank, one.size = number, size
    return found


def pictures(server, config, work_dir, count, ranks=ALONE, **cursor):
    """The steps of some batches, and the pixels and boxes of each."""
    feed = Feed(server, config, "train", work_dir, lambda _: None, seed=3, ranks=ranks, **cursor)
    found = {
        batch.step: (batch.images.numpy().tobytes(), batch.host["boxes"].tobytes())
        for _, batch in zip(range(count), feed, strict=False)
    }
    feed.close()
    return found


def test_ranks_have_what_one_alone_has_in_turns_past_the_end_of_an_epoch(server, photos, tmp_path):
    config, start = config_for(photos), STEPS_PER_EPOCH - 1
    alone = pictures(server, config, tmp_path, 6, step=start)
    ranks = [pictures(server, config, tmp_path, 3, one, step=start) for one in of_ranks(2)]
    assert ranks[0].keys() == {start + 1, start + 3, start + 5}
    assert ranks[0] | ranks[1] == alone


def test_the_record_of_another_number_of_ranks_is_compared_by_the_annotations_alone(server, photos, tmp_path):
    config = config_for(photos)
    record, _ = run(server, config, tmp_path, 2)
    said = []
    for fingerprint in (record["fingerprint"], f"{record['fingerprint'].rpartition('-')[0]}-other"):
        kept = {"digest": record["digest"], "fingerprint": fingerprint}
        Feed(server, config, "train", tmp_path, said.append, seed=3, step=2, record=kept).close()
    assert ["annotations are not those" in line for line in said] == [True]


def test_another_pipeline_is_noticed_on_resume(server, photos, tmp_path):
    half, _ = run(server, config_for(photos), tmp_path, 4)
    changed = (*TRAIN_PIPELINE[:2], {**TRAIN_PIPELINE[2], "scale": (64, 48)}, *TRAIN_PIPELINE[3:])
    _, said = run(server, config_for(photos, changed), tmp_path, 2, half, (0, 4))
    (warning,) = [line for line in said if "warning" in line]
    assert "the batch of step 3 is not what it was when the checkpoint was written" in warning
    assert half["digest"] in warning


def rewritten(file):
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][0] += 1
    file.write_text(json.dumps(content))


def edited_in_place(file):
    """A digit of a box, by one that leaves size and date as they are."""
    before, text = file.stat(), file.read_text()
    digit = re.search(r'"bbox": \[\s*(\d)', text)
    with file.open("r+") as opened:
        opened.seek(digit.start(1))
        opened.write("1" if digit[1] != "1" else "2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("change", [rewritten, edited_in_place])
def test_other_annotations_are_noticed_on_resume(server, tmp_path, change):
    folder = draw(tmp_path / "set")
    half, _ = run(server, config_for(folder), tmp_path, 4)
    change(folder / "all.json")
    _, said = run(server, config_for(folder), tmp_path, 2, half, (0, 4))
    (warning,) = [line for line in said if "warning" in line]
    assert "the annotations are not those that the checkpoint was trained on" in warning


def test_a_fingerprint_of_an_older_version_is_no_change_of_the_annotations(server, photos, tmp_path):
    half, _ = run(server, config_for(photos), tmp_path, 4)
    whole, _ = run(server, config_for(photos), tmp_path, 6)
    resumed, said = run(server, config_for(photos), tmp_path, 2, {**half, "fingerprint": "0123456789abcdef"}, (0, 4))
    (line,) = said
    assert line.startswith("the annotations' fingerprint 0123456789abcdef in the checkpoint is an older version's")
    assert resumed == whole


def test_a_batch_has_the_bytes_of_its_slot(cluster, server, photos, tmp_path):
    config = config_for(photos)
    feed = Feed(server, config, "train", tmp_path, print, seed=3)
    client = cluster.open(data_part(config, "train"), seed=3)
    for batch, _ in zip(feed, range(3), strict=False):
        lease = client.next()
        for name in ("images", "boxes", "box_counts", "labels"):
            np.testing.assert_array_equal(getattr(batch, name).numpy(), lease.arrays[name])
        assert (batch.host["image_ids"] == lease.arrays["image_ids"]).all()
        lease.release()
    feed.close()


def slots_of(arena, step):
    """The slots that hold batch `step`, finished: a header is written last."""
    return [slot for slot in range(arena.slots) if arena.header(slot)[16:24].view(np.uint64)[0] == step]


def test_a_flipped_bit_never_gets_into_a_batch(cluster, server, photos, tmp_path):
    feed = Feed(server, config_for(photos), "train", tmp_path, print)
    batches = iter(feed)
    next(batches)
    arena = arena_of(cluster, feed._client)
    wait_for(lambda: slots_of(arena, step=1), 5)
    (slot,) = slots_of(arena, step=1)
    arena.payload(slot)[1000] ^= 1
    with pytest.raises(SlotCorrupted, match="the payload of step 1 in slot"):
        next(batches)
    feed.close()


def test_a_sample_that_kills_its_worker_is_noted_in_the_work_dir(server, photos, tmp_path):
    deadly = (*TRAIN_PIPELINE[:3], {"type": "Deadly"}, *TRAIN_PIPELINE[3:])
    _, said = run(server, config_for(photos, deadly, {"on_bad_sample": "replace"}), tmp_path, STEPS_PER_EPOCH)
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert {line["image"] for line in lines} == {f"{photos}/images/03.jpg"}
    assert lines[0]["replaced"] and "was killed by SIGSEGV" in lines[0]["reason"]
    assert any("kills its worker" in line and "quarantine.jsonl" in line for line in said)


def test_predictions_that_have_no_room_are_refused_before_there_are_any(server, photos, tmp_path):
    boxes = shutil.disk_usage(tempfile.gettempdir()).free // (12 * 24) * 2  # of 24 bytes, in each of 12 images
    with pytest.raises(UserError, match=rf"up to {boxes} boxes in each of 12 images, may take .*TMPDIR="):
        Feed(server, config_for(photos), "val", tmp_path, print, epochs=1, predicted=boxes)


def test_predictions_that_cannot_be_judged_are_kept(server, photos, tmp_path):
    evaluator = {"type": "CocoMetric", "metric": "segm"}  # there are no masks
    feed = Feed(server, config_for(photos, evaluator=evaluator), "val", tmp_path, print, epochs=1)
    predictions = []
    for batch in feed:
        count = batch.valid
        predictions.append(
            {
                "image_ids": batch.host["image_ids"][:count],
                "counts": np.ones(count, np.int32),
                "original_shapes": batch.host["original_shapes"][:count],
                "boxes": np.tile(np.float32([1, 2, 30, 40]), (count, 1)),
                "scores": np.full(count, 0.5, np.float32),
                "labels": np.zeros(count, np.int32),
            }
        )
    with pytest.raises(UserError, match="segm"):
        feed.evaluate(predictions)
    feed.close()
    with np.load(keep(predictions, tmp_path / "new", "val")) as kept:
        assert len(kept["image_ids"]) == 12 and kept["boxes"].shape == (12, 4)


@pytest.fixture
def restarted(server, tmp_path):
    """A feed, two of its batches, and a function: changes the files, has the feed lose its server, which is back at
    once and knows nothing, and gives the next batch."""
    folder, said = draw(tmp_path / "set"), []
    config = config_for(folder)
    config.train_dataloader.dataset.metainfo = None  # the classes are those of the file
    feed = Feed(server, config, "train", tmp_path, said.append, seed=3)
    batches = iter(feed)
    assert [next(batches).step, next(batches).step] == [0, 1]

    def restart(change):
        change(folder)
        feed._reconnect(ServerGone("the data server is gone"))
        return next(batches), feed.record

    yield folder, said, restart
    feed.close()


def changed_annotations(change):
    def changed(folder):
        content = annotations_of(folder)
        change(content)
        write_annotations(folder, content)

    return changed


def test_a_server_that_comes_back_goes_on_at_the_next_batch(restarted, server, tmp_path):
    folder, said, restart = restarted
    batch, record = restart(lambda _: None)
    assert batch.step == 2
    assert record == run(server, config_for(folder), tmp_path, 3)[0]
    assert not [line for line in said if "warning" in line]
    assert said[-1].endswith("the data server is back; continuing at step 2")


def test_a_server_that_goes_away_before_the_first_batch_comes_back_with_it(server, tmp_path):
    config = config_for(draw(tmp_path / "set"))
    feed = Feed(server, config, "train", tmp_path, lambda _: None, seed=3)
    feed._reconnect(ServerGone("the data server is gone"))
    assert [batch.step for batch in itertools.islice(feed, 3)] == [0, 1, 2]
    assert feed.record == run(server, config, tmp_path, 3)[0]
    feed.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content["annotations"][0]["bbox"].__setitem__(0, 7), "other annotations (fingerprint"),
        (lambda content: content["annotations"][0].update(category_id=3), "other annotations (fingerprint"),
        (lambda content: content["images"].pop(0), "images, there were"),
        (lambda content: content["categories"][0].update(name="hat"), "other classes"),
    ],
    ids=["box", "label", "image", "name"],
)
def test_a_server_that_comes_back_with_other_annotations_ends_the_feed(restarted, change, says):
    folder, _, restart = restarted
    with pytest.raises(UserError) as raised:
        restart(changed_annotations(change))
    assert str(raised.value).startswith(f"data set {folder}/all.json: the data server has come back with other data: ")
    assert says in str(raised.value) and "--resume" in str(raised.value)


def test_a_server_that_comes_back_with_another_picture_says_so(restarted):
    def change(folder):
        for path in (folder / "images").iterdir():
            cv2.imwrite(str(path), 255 - cv2.imread(str(path)))

    _, said, restart = restarted
    batch, _ = restart(change)
    assert batch.step == 2
    (warning,) = [line for line in said if "warning" in line]
    assert "the batch of step 1 is not what it was before the data server went away" in warning
