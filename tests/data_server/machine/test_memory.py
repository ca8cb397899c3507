from pathlib import Path

import pytest

from data_server.machine import memory
from data_server.machine.memory import MIB, MemoryPlan
from shared.errors import UserError


def test_a_plan_says_what_it_is_made_of():
    plan = MemoryPlan(slots=5, slot_bytes=6 * MIB, dataset_bytes=3 * MIB, workers=2, worker_bytes=12 * MIB)
    assert plan.total == 57 * MIB
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
