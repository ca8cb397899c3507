"""Samples that kill their workers: who is blamed, what is said, and that everything else continues unchanged."""

import signal

import pytest

from data_server.serving.blame import Death, Suspects
from shared.client import StreamFailed
from shared.errors import UserError
from tests.cluster import Cluster, digests, wait_for
from tests.photos import TRAIN_PIPELINE, config_of

CRASH = Death(signal.SIGSEGV)
LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
STEPS = 12


def deadly(photos, feed=None, **how):
    """A stream with a pipeline step that kills, in the manner of `how`."""
    pipeline = (LOAD, BOXES, RESIZE, {"type": "Deadly", **how}, FLIP, PACK)
    imports = {"imports": ["tests.data_server.transforms"]}
    return config_of(photos, feed=feed, pipeline=pipeline, custom_imports=imports)


@pytest.mark.parametrize(
    ("death", "own_doing", "text"),
    [
        (Death(signal.SIGSEGV), True, "was killed by SIGSEGV"),
        (Death(signal.SIGABRT), True, "was killed by SIGABRT"),
        (Death(code=3), True, "ended with code 3"),
        (Death(signal.SIGKILL, out_of_memory=True), True, "was killed by the out-of-memory killer"),
        (Death(signal.SIGKILL), False, "was killed by SIGKILL"),
        (Death(signal.SIGKILL, verdict="it took too long"), True, "was killed because it took too long"),
        (Death(signal.SIGTERM), False, "was killed by SIGTERM"),
        (Death(), False, "ended with code 0"),
        (Death(known=False), False, "died"),
    ],
)
def test_a_crash_an_exit_and_the_want_of_memory_are_a_workers_own_doing(death, own_doing, text):
    assert (death.own_doing, str(death)) == (own_doing, text)


def test_a_sample_is_tried_once_more_before_it_is_proven_to_kill():
    suspects = Suspects()
    assert suspects.suspect(5) == 0
    assert not suspects.blame(5, 2, CRASH)
    assert suspects.suspect(5) == 2 and suspects.suspect(6) == 0
    assert suspects.blame(5, 2, CRASH)


def test_a_suspect_that_passes_its_trial_is_forgotten():
    suspects = Suspects()
    suspects.blame(5, 2, CRASH)
    suspects.cleared(5)
    assert suspects.suspect(5) == 0 and suspects.kills(5) == 0
    assert not suspects.blame(5, 2, CRASH)


def test_when_another_sample_kills_after_the_suspect_the_other_is_suspected():
    suspects = Suspects()
    suspects.blame(5, 2, CRASH)
    assert not suspects.blame(5, 1, CRASH)
    assert suspects.suspect(5) == 1
    assert suspects.blame(5, 1, CRASH)


def test_who_kills_a_worker_from_outside_blames_no_sample():
    suspects = Suspects()
    for _ in range(3):
        assert not suspects.blame(5, 2, Death(signal.SIGKILL))
    assert suspects.suspect(5) == 0 and suspects.kills(5) == 3


def test_a_death_over_no_sample_blames_none():
    suspects = Suspects()
    assert not suspects.blame(5, 0, CRASH) and suspects.suspect(5) == 0


def test_a_sample_is_replaced_by_the_next_one_round_the_end_of_the_data_set():
    suspects = Suspects()
    suspects.replace(5, 2)
    assert suspects.indices(5, (3, 9), images=10) == [3, 0]
    assert suspects.replace(5, 2) == 2
    assert suspects.indices(5, (3, 9), images=10) == [3, 1]
    assert suspects.indices(6, (3, 9), images=10) == [3, 9]


@pytest.mark.parametrize(
    ("how", "reason"), [({}, "was killed by SIGSEGV"), ({"code": 3}, "ended with code 3")], ids=["crash", "exit"]
)
def test_a_sample_that_kills_is_named_and_ends_its_stream_and_no_other(cluster, photos, how, reason):
    other = cluster.open(config_of(photos))
    client = cluster.open(deadly(photos, **how))
    text = (
        rf"image '{photos}/images/03.jpg' kills the worker that loads it \(batch of step \d+, index \d+\): "
        f"a worker that was loading nothing else {reason}; remove it from the data set, or set feed.on_bad_sample="
    )
    with pytest.raises(UserError, match=text):
        digests(client, STEPS)
    (found,) = cluster.quarantined
    assert found.image == f"{photos}/images/03.jpg" and reason in found.reason and not found.replaced
    assert digests(other, 3)


def test_the_next_sample_takes_the_place_of_one_that_kills_whatever_the_number_of_workers(cluster, photos):
    found = []
    config = deadly(photos, feed={"on_bad_sample": "replace"})
    for workers in (2, 1):
        own = Cluster(workers)
        client = own.open(config)
        found.append((digests(client, STEPS), client.digest))
        assert {one.image for one in own.quarantined} == {f"{photos}/images/03.jpg"}
        assert all(one.replaced for one in own.quarantined)
        own.stop()
    resumed = cluster.open(config, step=4)
    assert found[0] == found[1]
    assert digests(resumed, STEPS - 4) == found[0][0][4:]


def step(photos, one, feed=None):
    """A stream with another step in its pipeline."""
    imports = {"imports": ["tests.data_server.transforms"]}
    return config_of(photos, feed=feed, pipeline=(LOAD, BOXES, RESIZE, one, FLIP, PACK), custom_imports=imports)


def test_a_worker_that_ends_by_its_own_exception_is_reported_so_and_its_sample_blamed(cluster, photos):
    client = cluster.open(step(photos, {"type": "Leaving"}))
    with pytest.raises(UserError, match=r"03\.jpg' kills the worker .*loading nothing else ended with code 1"):
        digests(client, STEPS)
    assert "no licence" in cluster.log
    assert not any("SIGKILL" in notice for notice in cluster.notices)


def test_a_worker_that_takes_more_memory_than_planned_while_it_works_is_killed_and_its_sample_blamed(cluster, photos):
    other = cluster.open(config_of(photos))
    client = cluster.open(step(photos, {"type": "Greedy"}, feed={"worker_memory": 200}))
    text = r"03\.jpg' kills .* was killed because it held \d+ MiB, more than the \d+ MiB that were planned "
    with pytest.raises(UserError, match=text + "and feed.worker_memory=200"):
        digests(client, STEPS)
    assert digests(other, 3)


def test_a_sample_that_takes_for_ever_is_killed_and_replaced_like_one_that_crashes(cluster, photos):
    crashing = cluster.open(deadly(photos, feed={"on_bad_sample": "replace"}))
    expected = digests(crashing, STEPS)
    client = cluster.open(step(photos, {"type": "Stuck"}, feed={"on_bad_sample": "replace", "image_seconds": 2}))
    assert digests(client, STEPS) == expected
    assert {one.image[-6:] for one in cluster.quarantined} == {"03.jpg"}
    assert "it took longer than feed.image_seconds=2 for one image" in cluster.quarantined[-1].reason


def test_two_samples_in_a_row_that_kill_are_both_replaced(cluster, photos):
    pictures = deadly(photos, feed={"on_bad_sample": "replace"}, images=(103, 104))
    client = cluster.open(pictures)
    seen = set()
    for _ in range(STEPS):
        lease = client.next()
        seen.update(lease.arrays["image_ids"].tolist())
        lease.release()
    assert seen == set(range(100, 111)) - {103, 104}
    assert {one.image[-6:] for one in cluster.quarantined} == {"03.jpg", "04.jpg"}


def test_what_is_killed_from_outside_again_and_again_ends_the_stream_in_the_end(cluster, photos):
    with pytest.raises(StreamFailed, match=r"the batch of step \d+ killed 20 workers; see the data server's log"):
        digests(cluster.open(deadly(photos, signal_name="SIGKILL")), STEPS)
    assert not cluster.quarantined


def test_a_worker_that_crashes_when_all_samples_are_made_blames_none(cluster, photos):
    crashing = Cluster(launcher=("env", "FAULT=worker.loaded:2:SIGSEGV"))  # each one, over its second batch
    expected = digests(cluster.open(config_of(photos)), STEPS)
    assert digests(crashing.open(config_of(photos)), STEPS) == expected
    assert "was killed by SIGSEGV" in crashing.log and not crashing.quarantined
    crashing.stop()


def test_a_worker_that_has_grown_too_large_is_replaced_and_no_byte_changes(cluster, photos):
    imports = {"imports": ["tests.data_server.transforms"]}
    pipeline = (LOAD, BOXES, RESIZE, FLIP, {"type": "Hoarding", "mib": 20}, PACK)
    config = config_of(photos, pipeline=pipeline, custom_imports=imports, feed={"worker_memory": 50})
    expected = digests(cluster.open(config_of(photos)), STEPS)
    assert digests(cluster.open(config), STEPS) == expected
    assert any("(feed.worker_memory=50); a fresh one takes its place" in notice for notice in cluster.notices)
    wait_for(lambda: len(cluster.workers()) == 2 * cluster.workers_of_a_stream, 5)
