from pathlib import Path

import pytest

from data_server.machine import memory
from data_server.machine.memory import MIB, MemoryPlan
from shared.errors import UserError


def test_a_plan_says_what_it_is_made_of():
    plan = MemoryPlan(slots=5, slot_bytes=6 * MIB, dataset_bytes=3 * MIB, workers=2, worker_bytes=12 * MIB)
    assert plan.total == 57 * MIB == 57 * 1024 * 1024
    assert MemoryPlan(slots=2, slot_bytes=5).total == MemoryPlan(slots=2, slot_bytes=5, worker_bytes=7).total == 10
    assert str(plan) == "5 slots x 6.0 MiB + data set 3.0 MiB + 2 workers x 12.0 MiB = 57.0 MiB"


def test_a_plan_beyond_the_machines_memory_is_refused_and_shown():
    plan = MemoryPlan(slots=10**6, slot_bytes=6 * MIB, dataset_bytes=0, workers=2, worker_bytes=0)
    with pytest.raises(UserError, match=r"too little memory: the plan is 1000000 slots x 6.0 MiB .* lower feed.slots"):
        plan.check()
    MemoryPlan(slots=1, slot_bytes=MIB, dataset_bytes=0, workers=1, worker_bytes=MIB).check()


def test_the_data_set_which_is_held_by_then_is_not_asked_for_again():
    held = MemoryPlan(slots=1, slot_bytes=MIB, dataset_bytes=10**15, workers=1, worker_bytes=MIB)
    held.check()
    with pytest.raises(
        UserError, match=r"the data set is there, 1000002 MiB more are needed, \d+ MiB are available; low"
    ):
        MemoryPlan(slots=10**6, slot_bytes=MIB, dataset_bytes=10**15, workers=2, worker_bytes=MIB).check()


def test_there_are_slots_and_proxies_for_all_workers_that_may_come():
    plan = MemoryPlan(slots=4, slot_bytes=MIB, workers=1, worker_bytes=MIB)
    more = plan.with_far_workers(1, 3, slots_each=1)
    assert (more.slots, more.far) == (7, 3)
    assert (
        str(more) == "7 slots x 1.0 MiB + data set 0.0 MiB + 1 workers x 1.0 MiB + 3 proxies of far workers x 12.0 "
        "MiB = 44.0 MiB"
    )
    assert plan.with_far_workers(0, 3, slots_each=0).slots == 4
    assert plan.with_far_workers(0, 0, slots_each=1) == plan


@pytest.mark.parametrize(("there", "far"), [(0, 3), (2, 3), (5, 5)])
def test_those_that_may_come_take_half_of_what_is_left_and_those_that_are_there_what_they_need(
    tmp_path, monkeypatch, there, far
):
    left = 10 * MIB + 2 * 3 * (12 + 4) * MIB
    control_group(tmp_path, max=f"{left}\n", current="0\n", stat="")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    plan = MemoryPlan(slots=2, slot_bytes=4 * MIB, dataset_bytes=10**15, workers=1, worker_bytes=2 * MIB)
    assert plan.with_far_workers(there, 64, slots_each=1).far == far


def control_group(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)
    return folder


def test_a_control_groups_limit_counts_and_its_page_cache_can_be_dropped(tmp_path, monkeypatch):
    stat = f"anon 5\ninactive_file {30 * MIB}\n"
    control_group(tmp_path, max=f"{100 * MIB}\n", current=f"{80 * MIB}\n", stat=stat)
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert memory.available() == 50 * MIB


def test_a_control_group_without_a_limit_leaves_the_machines_memory(tmp_path, monkeypatch):
    control_group(tmp_path, max="max\n", current="5\n", stat="")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert memory.available() > 100 * MIB


@pytest.mark.parametrize(("used", "left"), [(80 * MIB, 20 * MIB), (100 * MIB, 0), (120 * MIB, 0)])
def test_a_control_group_that_holds_more_than_it_may_has_nothing_left(tmp_path, monkeypatch, used, left):
    control_group(tmp_path, max=f"{100 * MIB}\n", current=f"{used}\n", stat="anon 5\n")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert memory.available() == left


@pytest.mark.parametrize("files", [{"max": "5"}, {"current": "5"}, {}])
def test_half_a_control_group_bounds_nothing(tmp_path, monkeypatch, files):
    control_group(tmp_path, **files)
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert memory.available() > 100 * MIB


def test_the_machines_memory_counts_where_the_control_group_allows_more(tmp_path, monkeypatch):
    control_group(tmp_path, max=f"{1 << 60}\n", current="5\n", stat="")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(memory, "numbers", lambda *_: [300 * MIB])
    assert memory.available() == 300 * MIB


def test_a_plan_may_take_all_that_is_available_and_not_a_byte_more(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 3 * MIB)
    MemoryPlan(slots=1, slot_bytes=MIB, dataset_bytes=9 * MIB, workers=2, worker_bytes=MIB).check()
    with pytest.raises(UserError, match=r"9\.0 MiB .*; the data set is there, 3 MiB more are needed, 3 MiB are avail"):
        MemoryPlan(slots=1, slot_bytes=MIB + 1, dataset_bytes=9 * MIB, workers=2, worker_bytes=MIB).check()


def test_in_a_container_what_to_do_includes_its_limit(tmp_path, monkeypatch):
    control_group(tmp_path, max=f"{100 * MIB}\n", current=f"{80 * MIB}\n", stat="anon 5\n")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    with pytest.raises(UserError, match=r"feed\.max_boxes or --workers, or raise this container's limit of 100 MiB$"):
        MemoryPlan(slots=21, slot_bytes=MIB).check()


def test_a_kernel_that_does_not_say_what_is_available_is_too_old(monkeypatch):
    def numbers(path, key):
        raise OSError(f"{path} has no {key}")

    monkeypatch.setattr(memory, "numbers", numbers)
    with pytest.raises(UserError, match=r"^/proc/meminfo has no MemAvailable; a Linux kernel 3\.14 or newer"):
        memory.available()


@pytest.mark.skipif(not Path("/sys/fs/cgroup").is_dir(), reason="no control groups here")
def test_the_control_group_is_where_linux_has_it():
    assert memory.CONTROL_GROUP.is_dir()
