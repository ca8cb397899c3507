"""The kernel's count of processes killed for lack of memory."""

from data_server.machine import kills


def test_the_machines_count_of_killings_for_want_of_memory_can_be_read():
    assert kills.out_of_memory_kills() >= 0


def test_the_control_groups_count_goes_before_the_machines(monkeypatch):
    counts = {"/sys/fs/cgroup/memory.events": [3], "/proc/vmstat": [5]}

    def numbers(path, _):
        if path not in counts:
            raise OSError(path)
        return counts[path]

    monkeypatch.setattr(kills, "numbers", numbers)
    assert kills.out_of_memory_kills() == 3
    del counts["/sys/fs/cgroup/memory.events"]
    assert kills.out_of_memory_kills() == 5
    counts.clear()
    assert kills.out_of_memory_kills() == 0
