"""The doctor's verdicts and exit code."""

import importlib.metadata

import pytest

from shared import doctor
from shared.doctor import Faulty, Warned, examine, run, versions
from shared.errors import UserError


def raising(error: Exception):
    def check() -> str:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Warned("so so"), ("warning", "so so")),
        (Faulty("bad"), ("fault", "bad")),
        (UserError("yours"), ("fault", "yours")),
        (OSError(2, "No such file"), ("fault", "FileNotFoundError: [Errno 2] No such file; this program needs it")),
        (ImportError("no torch"), ("fault", "ImportError: no torch; this program needs it")),
    ],
)
def test_what_a_check_raises_is_its_verdict(error: Exception, verdict: tuple[str, str]) -> None:
    assert examine(raising(error)) == verdict


def test_a_mistake_of_ours_is_no_verdict() -> None:
    with pytest.raises(ZeroDivisionError):
        examine(raising(ZeroDivisionError()))


def test_all_checks_answer_a_line_each_and_faults_alone_are_the_exit_code(capsys: pytest.CaptureFixture) -> None:
    checks = {"first": lambda: "fine", "second": raising(Warned("so so"))}
    assert run(checks) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       first                fine",
        "warning  second               so so",
    ]
    assert run({**checks, "third": raising(Faulty("bad"))}) == 3
    assert len(capsys.readouterr().out.splitlines()) == 3 and run({}) == 0


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch):
    """Sets what is installed and what the project says that it needs."""

    def declare(lines: list[str] | None, **installed: str) -> None:
        def version(name: str) -> str:
            if name not in installed:
                raise importlib.metadata.PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(doctor.importlib.metadata, "version", version)

        def requires(name: str) -> list[str] | None:
            if name != "unidetector-jittor":
                raise importlib.metadata.PackageNotFoundError(name)
            return lines

        monkeypatch.setattr(doctor.importlib.metadata, "requires", requires)

    return declare


def test_versions_are_those_of_the_extra_and_of_no_other(declared) -> None:
    lines = ["numpy<2", "torch>=2; extra == 'data-server'", "jittor; extra == 'trainer'", "numpy>=1", "zmq"]
    declared(lines, numpy="1.26.4", torch="2.0+cpu", zmq="1")
    assert versions("data-server") == "numpy 1.26.4, torch 2.0+cpu, zmq 1"
    with pytest.raises(Faulty, match=r"^jittor is missing; pip install -e '\.\[trainer\]'$"):
        versions("trainer")


def test_all_wrong_versions_are_told_at_once(declared) -> None:
    declared(["zmq", "numpy<1.26", "torch>=2"], numpy="1.26.4", torch="1.9.0+cpu")
    says = r"^zmq is missing; numpy is 1.26.4, expected <1.26; torch is 1.9.0\+cpu, expected >=2; pip"
    with pytest.raises(Faulty, match=says):
        versions("")


@pytest.mark.parametrize("version", ["2.0.0", "3.1"])
def test_a_numpy_that_jittor_copies_nothing_from_is_a_fault(declared, version: str) -> None:
    declared([], numpy=version)
    with pytest.raises(Faulty, match="numpy 2 makes Jittor copy zero bytes"):
        versions("")


def test_a_project_that_declares_nothing_needs_nothing(declared) -> None:
    declared(None, numpy="1.26.4")
    assert versions("") == ""


def test_a_project_that_is_not_installed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROJECT", "a-project-that-nobody-has")
    says = r"^a-project-that-nobody-has is not installed, nothing says what it needs; pip install -e '\.\[x\]'$"
    with pytest.raises(Warned, match=says):
        versions("x")
