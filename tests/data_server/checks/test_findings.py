"""What a check has found is counted by kind, with its first few places."""

from data_server.checks.findings import SHOWN, Findings


def test_errors_come_first_and_kinds_are_counted() -> None:
    found = Findings()
    for number in range(1200):
        found.warning("crooked lines", f"line {number}")
    found.error("no lines at all")
    assert (found.errors, found.warnings) == (1, 1)
    error, warning = map(str, found)
    assert error == "ERROR   no lines at all"
    assert warning == "warning 1,200 crooked lines: " + ", ".join(f"line {n}" for n in range(SHOWN)) + ", ..."


def test_a_few_places_are_all_shown() -> None:
    found = Findings()
    found.error("crooked lines", "line 7")
    assert [str(finding) for finding in found] == ["ERROR   1 crooked lines: line 7"]


def test_several_of_a_kind_are_counted_together_with_the_first_places() -> None:
    found = Findings()
    found.several(False, "crooked lines", ["line 1", "line 2"], 70)
    found.several(False, "crooked lines", ["line 99"], 1)
    found.several(True, "torn pages", ["page 3"], 1)
    assert [str(finding) for finding in found] == [
        "ERROR   1 torn pages: page 3",
        "warning 71 crooked lines: line 1, line 2, line 99, ...",
    ]
