import pytest

from data_server.handover.far_link import Place
from data_server.serving.demand import WINDOW
from data_server.serving.far_workers import MAX_STILLBORN, FarWorkers
from data_server.serving.nodes import FarNode


class Child:
    """A worker that is ready, or its proxy."""

    pidfd = 1

    def __init__(self, address: str) -> None:
        self.address = address


class Cluster:
    def __init__(self, *nodes: FarNode, elastic: bool = False) -> None:
        self.known = list(nodes)
        self.most = 8
        self.elastic = elastic
        self.wanted: list[int] = []

    def want(self, _: FarWorkers, workers: int) -> None:
        self.wanted.append(workers)


def node(name: str, workers: int) -> FarNode:
    return FarNode(Place(name, f"tcp://{name}:1", "", "", ""), workers)


@pytest.fixture
def far():
    far = FarWorkers(Cluster(node("a", 2), node("b", 1)))
    far.open(1, 8)
    return far


def test_nodes_are_filled_up_to_what_they_have_room_for(far):
    taken = []
    while vacancy := far.vacancy(taken):
        taken.append(vacancy.place.address)
    assert taken == ["tcp://a:1", "tcp://a:1", "tcp://b:1"]
    assert far.count == 3


def test_local_workers_take_no_room_of_a_node(far):
    assert far.vacancy(["", "", "tcp://a:1"]).place.node == "a"


def test_there_are_no_more_than_there_is_memory_for(far):
    far.open(1, 2)
    assert far.vacancy(["", "", "tcp://a:1"]).place.node == "a"
    assert far.vacancy(["", "tcp://a:1", "tcp://a:1"]) is None


@pytest.mark.parametrize("elastic", [False, True])
def test_a_stream_that_waits_wants_some_of_an_elastic_cluster_and_none_at_its_end(elastic):
    cluster = Cluster(elastic=elastic)
    far = FarWorkers(cluster)
    assert far.most == 8
    far.open(2, 8)
    workers = [Child(""), Child("")]
    said = [far.delivered(workers, 0, waited=True, worth=True) for _ in range(2 * WINDOW)]
    assert [line for line in said if line] == [
        f"{WINDOW} of {WINDOW} batches were waited for; 2 far workers are wanted now, not 0"
    ] * elastic
    workers += [Child("tcp://a:1"), Child("tcp://a:1")]
    said = [far.delivered(workers, 0, waited=True, worth=True) for _ in range(WINDOW)]
    far.close()
    assert cluster.wanted == ([2, 6, 0] if elastic else [0])


def test_a_refused_node_has_no_room(far):
    far.refuse("tcp://a:1")
    assert far.count == 1
    assert far.vacancy(["tcp://b:1"]) is None


def test_a_node_is_admitted_once_and_not_after_it_was_refused(far):
    assert far.admit("tcp://a:1").node == "a"
    assert far.admit("tcp://a:1") is None
    far.refuse("tcp://b:1")
    assert far.admit("tcp://b:1") is None


def test_a_node_whose_proxies_die_before_they_begin_is_refused_after_some(far):
    assert [far.stillborn("tcp://a:1") for _ in range(MAX_STILLBORN)] == [False] * (MAX_STILLBORN - 1) + [True]
    assert list(far.nodes) == ["tcp://b:1"]


def test_a_stream_without_nodes_has_no_far_workers():
    far = FarWorkers(None)
    far.open(1, 0)
    far.close()
    assert far.most == 0 and far.delivered([], 0, waited=True, worth=True) == ""
    assert far.count == 0 and far.vacancy([]) is None
