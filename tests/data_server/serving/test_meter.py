"""Whom a stream waits for, and what is counted of it."""

import signal
import time

import pytest

from data_server.serving.blame import Death
from data_server.serving.ledger import Ledger
from data_server.serving.meter import CAUSES, Meter, Stall, cause_of


def meter_of(slots=2, end_step=None, credits=1):
    meter = Meter()
    meter.ledger = Ledger(slots, 0, end_step, credits)
    return meter


def fill(meter):
    """Has the ledger's free slots written and leases what it can."""
    while assignment := meter.ledger.assign(0):
        meter.ledger.wrote(0, assignment.slot, assignment.generation)
    return meter.ledger.lease()


def stalls(meter, *, read=True, all_idle=True):
    """Those that go on, when the stream stands as said."""
    meter.observe(read=read, all_idle=all_idle)
    before = {stall: meter.stall_seconds(stall) for stall in Stall}
    time.sleep(0.002)
    return {stall for stall in Stall if meter.stall_seconds(stall) > before[stall]}


def test_a_trainer_with_credit_and_nothing_ready_waits_for_data():
    assert stalls(meter_of(), all_idle=False) == {Stall.DATA}


def test_idle_workers_without_a_free_slot_wait_for_the_trainer():
    meter = meter_of()
    fill(meter)
    assert stalls(meter) == {Stall.COMPUTE}
    assert stalls(meter, all_idle=False) == set()


def test_a_slot_given_back_ends_the_wait_and_its_seconds_stay_counted():
    meter = meter_of(slots=3, credits=1)
    lease = fill(meter)
    assert stalls(meter) == {Stall.COMPUTE}
    meter.ledger.release(lease.slot, lease.generation)
    meter.ledger.lease()
    assert stalls(meter) == set()
    assert meter.stall_seconds(Stall.COMPUTE) > 0
    assert meter.stall_seconds(Stall.DATA) == 0


def test_a_stream_that_nobody_reads_stalls_neither_way():
    empty, full = meter_of(), meter_of()
    fill(full)
    assert stalls(empty, read=False) == stalls(full, read=False) == set()


def test_workers_that_have_made_the_last_batch_wait_for_nobody():
    meter = meter_of(slots=2, end_step=2)
    lease = fill(meter)
    assert stalls(meter) == set()
    meter.ledger.release(lease.slot, lease.generation)
    meter.ledger.lease()
    assert meter.ledger.finished
    assert stalls(meter) == set()


def test_a_finished_stream_waits_for_no_data():
    assert stalls(meter_of(end_step=0)) == set()


def test_delivered_batches_are_counted_with_the_bytes_of_their_arrays():
    meter = Meter()
    meter.delivered(320)
    meter.delivered(128)
    assert (meter.batches, meter.payload_bytes) == (2, 448)


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (Death(signal.SIGKILL), "killed"),
        (Death(signal.SIGTERM), "killed"),
        (Death(signal.SIGSEGV), "crashed"),
        (Death(code=3), "crashed"),
        (Death(), "crashed"),
        (Death(signal.SIGKILL, out_of_memory=True), "out_of_memory"),
        (Death(known=False), "orphaned"),
    ],
)
def test_every_death_has_a_cause(death, cause):
    assert cause_of(death) == cause
    assert cause in CAUSES


def test_the_seconds_of_a_wait_are_those_between_its_two_ends(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    meter = meter_of()
    meter.observe(read=True, all_idle=False)
    now[0] = 107.5
    assert meter.stall_seconds(Stall.DATA) == 7.5
    meter.observe(read=False, all_idle=False)
    now[0] = 200.0
    assert meter.stall_seconds(Stall.DATA) == 7.5
    meter.observe(read=True, all_idle=False)
    now[0] = 201.0
    assert meter.stall_seconds(Stall.DATA) == 8.5


def test_a_new_stream_has_counted_nothing_and_knows_all_causes_that_dashboards_name():
    meter = Meter()
    counts = (meter.memory_bytes, meter.batches, meter.payload_bytes, meter.nursery_restarts, meter.quarantined)
    assert (*counts, meter.replaced, meter.evaluations) == (0,) * 7 and not meter.worker_restarts
    assert all(meter.stall_seconds(stall) == 0 for stall in Stall)
    assert [stall.value for stall in Stall] == ["data", "compute"]
    assert CAUSES == ("killed", "crashed", "out_of_memory", "recycled", "orphaned", "stillborn", "unreachable")
