"""Who does what when between a producer and a consumer; here they are threads with a queue between them."""

import queue
import threading
import time

import numpy as np
import pytest

from benchmarks.transports.exchange import UNDER_WAY, Consumer, Permits, produce_each
from benchmarks.transports.stamps import ROWS, Stamps

REQUEST = {"bytes": 1000, "interval": 0.0, "seconds": 60}


@pytest.fixture
def exchange():
    permits, stamps, batches = Permits(), Stamps(), queue.Queue()
    events = []

    def prepare(payload):
        events.append("made")
        return payload

    def receive():
        time.sleep(0.003)  # enough for a producer that does not wait to make the next one
        batch = batches.get()
        events.append("received")
        return batch

    def produce():
        for batch in produce_each(permits, stamps, prepare):
            batches.put(batch)

    thread = threading.Thread(target=produce)
    consumer = Consumer(permits, stamps, receive)
    thread.start()
    yield consumer, events
    permits.end()
    thread.join()


def test_as_many_batches_come_as_were_asked_for(exchange):
    consumer, events = exchange
    for batches in (1, 2, 7):
        assert len(consumer.answer(REQUEST | {"batches": batches})["latencies"]) == batches
    assert events.count("made") == 10


def test_when_paced_nothing_ever_queues(exchange):
    consumer, events = exchange
    answer = consumer.answer(REQUEST | {"interval": 0.001, "batches": 20})
    assert events == ["made", "received"] * 20
    assert answer["seconds"] >= 20 * 0.001


def test_a_visit_ends_early_when_its_time_is_up_but_what_is_under_way_arrives(exchange):
    consumer, events = exchange
    answer = consumer.answer(REQUEST | {"interval": 0.001, "batches": 1000, "seconds": 0.0})
    assert len(answer["latencies"]) == events.count("made") == 1
    assert len(consumer.answer(REQUEST | {"batches": 1000, "seconds": 0.0})["latencies"]) == UNDER_WAY


def test_a_payload_of_another_size_is_noticed():
    permits, stamps = Permits(), Stamps()
    with pytest.raises(SystemExit, match="asked for 1000 bytes, 999 came"):
        Consumer(permits, stamps, lambda: np.zeros(999, np.uint8)).answer(REQUEST | {"batches": 1})


def test_a_table_of_stamps_opened_by_its_path_is_the_same_table():
    mine = Stamps()
    theirs = Stamps(mine.path)
    before = time.monotonic()
    theirs.prepared(ROWS + 3, 2_000_000)
    theirs.complete(ROWS + 3)
    mine.interval = 0.25
    stamp = mine.of(3)
    assert before <= stamp.handed <= time.monotonic()
    assert (stamp.preparation, stamp.transport, stamp.receiving) == (0.002, 0, 0)
    assert theirs.interval == 0.25


def test_a_batch_from_another_host_is_handed_over_from_its_arrival_on():
    stamps = Stamps()
    stamps.prepared(7, 0)
    stamps.complete(7)
    made = stamps.of(7).handed
    time.sleep(0.002)
    stamps.arrived(7, 3_000_000)
    stamp = stamps.of(7)
    assert stamp.handed - made == pytest.approx(stamp.transport) and stamp.transport >= 0.002
    assert stamp.receiving == 0.003
    stamps.prepared(7 + ROWS, 0)
    stamps.complete(7 + ROWS)
    assert stamps.of(7 + ROWS).transport == 0
