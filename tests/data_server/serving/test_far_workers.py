import pytest

from data_server.handover.far_link import Place
from data_server.serving.far_workers import MAX_STILLBORN, FarWorkers
from data_server.serving.nodes import FarNode


class Cluster:
    def __init__(self, *nodes: FarNode) -> None:
        self.known = list(nodes)


def node(name: str, workers: int) -> FarNode:
    return FarNode(Place(name, f"tcp://{name}:1", "", "", ""), workers)


@pytest.fixture
def far():
    return FarWorkers(Cluster(node("a", 2), node("b", 1)))


def test_nodes_are_filled_up_to_what_they_have_room_for(far):
    taken = []
    while vacancy := far.vacancy(taken):
        taken.append(vacancy.place.address)
    assert taken == ["tcp://a:1", "tcp://a:1", "tcp://b:1"]
    assert far.count == 3


def test_local_workers_take_no_room_of_a_node(far):
    assert far.vacancy(["", "", "tcp://a:1"]).place.node == "a"


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
    assert far.count == 0 and far.vacancy([]) is None
