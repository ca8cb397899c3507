"""Which cells of the fault matrix are run, and that none is run twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.faults.cells import Cell, Plan, Scenario, kinds
from tests.faults.disk import points
from tests.faults.results import Results, table

SCENARIO = Scenario("train", "trainer", "train")
LOG, PICTURES, ASIDE = "/ground/work/metrics.jsonl", "/ground/new/{}.png", "/tmp/#{} (deleted)"
CALLS = [
    ("open", LOG),
    *(("write", LOG) for _ in range(9)),
    *((call, PICTURES.format(number)) for number in (8, 9, 10) for call in ("open", "write", "write")),
    *(("write", ASIDE.format(number)) for number in (731, 732)),
]


def plan(**how: object) -> Plan:
    return Plan.of(SCENARIO, points(CALLS), **how)


def places(cells: list[Cell], operation: str, folder: str, fault: str) -> list[str]:
    return [
        f"{cell.point.at} of {Path(cell.point.pattern).name}"
        for cell in cells
        if cell.point.operation == operation and folder in cell.point.pattern and cell.fault.name == fault
    ]


def test_of_each_kind_the_first_the_last_and_one_between_are_run() -> None:
    runs = plan().runs
    for fault in ("disk full", "read-only", "input/output error", "kill"):
        assert places(runs, "open", "work", fault) == ["1 of metrics.jsonl"]
        first, between, last = places(runs, "write", "work", fault)
        assert (first, last) == ("1 of metrics.jsonl", "9 of metrics.jsonl")
        assert between in places(plan().cells, "write", "work", fault)[1:-1]
        assert places(runs, "open", "new", fault) == ["1 of 8.png", "1 of 9.png", "1 of 10.png"]
        first, between, last = places(runs, "write", "new", fault)
        assert (first, last) == ("1 of 8.png", "2 of 10.png")
        assert places(runs, "write", "tmp", fault) == ["1 of #* (deleted)", "2 of #* (deleted)"]


def test_files_whose_names_differ_in_more_than_numbers_and_other_calls_and_faults_are_kinds_of_their_own() -> None:
    cells = plan().cells
    names = {(cell.point.operation, Path(cell.point.pattern).suffix, cell.fault.name) for cell in cells}
    assert len(kinds(cells)) == len(names) == 5 * 4


def test_every_cell_is_run_when_asked_for() -> None:
    assert plan(every=True).runs == plan().cells
    assert len(plan().cells) == 4 * len(CALLS)


def test_what_is_drawn_is_the_same_every_time() -> None:
    drawn = plan(most=5).runs
    assert len(drawn) == 5 and set(drawn) < set(plan().runs)
    assert drawn == plan(most=5).runs and plan() == plan()


def test_what_was_found_is_not_run_again_until_the_sources_change(tmp_path: Path) -> None:
    file, runs = tmp_path / "faults.jsonl", plan().runs
    results = Results(file, "now")
    results.add(runs[0], fired=True, wrong=["damaged: a file"], seconds=2.04)
    results.add(runs[1], fired=False, wrong=[], seconds=4.0)
    again = Results(file, "now")
    assert again.missing(runs) == runs[2:] == results.missing(runs)
    assert [(one.fired, one.wrong, one.seconds) for one in again.of(runs)] == [
        (True, ["damaged: a file"], 2.0),
        (False, [], 4.0),
    ]
    assert Results(file, "later").missing(runs) == runs


def test_the_table_counts_by_scenario_and_all(tmp_path: Path) -> None:
    one, two = plan(), Plan.of(replace(SCENARIO, name="evaluate"), points(CALLS[:1]))
    results = Results(tmp_path / "faults.jsonl", "now")
    results.add(one.runs[0], fired=True, wrong=["damaged: a file"], seconds=2.0)
    results.add(two.runs[0], fired=False, wrong=[], seconds=4.0)
    _, *rows = (line.split() for line in table([one, two], results))
    assert rows == [
        ["train", "84", "20", str(len(one.runs)), "1", "1", "0", "2.0"],
        ["evaluate", "4", "4", "4", "1", "0", "1", "4.0"],
        ["all", "88", "24", str(len(one.runs) + 4), "2", "1", "1", "3.0"],
    ]
