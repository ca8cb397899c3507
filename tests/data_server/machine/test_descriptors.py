"""The plan against a real server; what happens at its limits is in tests/chaos/test_environment.py."""

import os

import pytest

from data_server.machine.descriptors import DescriptorPlan
from tests.cluster import Cluster, digests, wait_for
from tests.photos import config_of

IDLE = 16  # what a server without streams holds


def test_what_is_planned_for_some_streams_suffices_for_so_many_and_not_for_one_more():
    for workers in (1, 2, 16):
        for streams in (0, 1, 5):
            needed = DescriptorPlan(0, workers).needed(streams)
            assert DescriptorPlan(needed, workers).streams == streams
            assert DescriptorPlan(needed - 1, workers).streams < streams or streams == 0


def test_a_server_with_several_streams_holds_no_more_descriptors_than_planned(photos):
    cluster = Cluster(workers=3)
    for streams in range(1, 4):
        digests(cluster.open(config_of(photos)), 2)
        assert len(os.listdir(f"/proc/{cluster.server.pid}/fd")) <= DescriptorPlan(0, 3).needed(streams)
    cluster.stop()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stream_and_its_workers_take_what_is_planned_for_them(photos, workers):
    plan, spare = DescriptorPlan(0, workers), 4  # for an evaluation
    cluster = Cluster(workers=workers)
    for streams in (1, 2):
        digests(cluster.open(config_of(photos)), 2)
        expected = IDLE + streams * (plan.needed(1) - plan.needed(0) - spare)
        wait_for(lambda expected=expected: held(cluster) == expected, 5)  # others are open while a stream begins
    cluster.stop()


def held(cluster):
    return len(os.listdir(f"/proc/{cluster.server.pid}/fd"))


def test_what_the_server_needs_for_itself_and_for_strangers_is_kept():
    assert DescriptorPlan(1024, 4).needed(0) == 40 + 16 * 2
    assert str(DescriptorPlan(1024, 4)) == "43 streams of 4 workers at a time with at most 1024 open files"


def test_a_server_may_open_as_many_files_as_the_hard_limit_allows():
    cluster = Cluster(launcher=("prlimit", "--nofile=90:300"))
    with open(f"/proc/{cluster.server.pid}/limits") as limits:
        (line,) = [line for line in limits if line.startswith("Max open files")]
    assert line.split()[3:5] == ["300", "300"]
    cluster.stop()
