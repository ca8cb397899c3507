"""The doctor under real limits: each is set for its process alone."""

import functools
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from data_server.commands import doctor
from data_server.commands.doctor import CHECKS, Options
from shared.doctor import PROJECT, examine
from tests.cluster import ROOT

Verdicts = dict[str, tuple[str, str]]
NAME = slice(9, 29)


@pytest.fixture(scope="module")
def here() -> tuple[int, Verdicts]:
    """The exit code and, by check, the verdict and what was said."""
    command = [sys.executable, "-m", "data_server", "doctor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert not done.stderr, done.stderr
    lines = done.stdout.splitlines()
    return done.returncode, {line[NAME].strip(): (line[:8].strip(), line[NAME.stop + 1 :]) for line in lines}


@pytest.mark.slow
def test_a_machine_that_runs_these_tests_has_no_fault_and_every_check_says_one_line(here: tuple[int, Verdicts]) -> None:
    code, verdicts = here
    assert code == 0
    assert list(verdicts) == list(CHECKS)
    assert {verdict for verdict, _ in verdicts.values()} <= {"ok", "warning"}
    assert all(text for _, text in verdicts.values())


@pytest.mark.slow
def test_torch_is_imported_in_a_process_of_its_own(here: tuple[int, Verdicts]) -> None:
    assert "torch and MMDetection were imported in" in here[1]["worker imports"][1]
    code = (
        "import sys\nfrom data_server.commands import doctor\nfrom shared.doctor import examine\n"
        "doctor.CHECKS.pop('worker imports')\n"
        "for check in doctor.CHECKS.values():\n    examine(lambda: check(doctor.Options(1, 'ipc:///tmp/never')))\n"
        "assert not {'torch', 'mmdet', 'mmcv', 'jittor'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# (launcher or options or environment, check, verdict, what is said)
ILLNESSES = {
    "few open files": (("prlimit", "--nofile=60"), "open files", "fault", "at most 60 files may be open (ulimit -Hn)"),
    "some open files": (("prlimit", "--nofile=120"), "open files", "warning", "raise the limit (ulimit -Hn) for more"),
    "small files": (("prlimit", "--fsize=100000"), "other limits", "warning", "ulimit -f unlimited"),
    "no room for shared memory": (("prlimit", "--fsize=100000"), "shared memory", "fault", "File too large"),
    "core files": (("prlimit", "--core=unlimited"), "other limits", "warning", "ulimit -c 0"),
    "one core": (("taskset", "-c", "0"), "processors", "warning", "for 2 workers; --workers 1 would do as much"),
}


@pytest.mark.parametrize("illness", ILLNESSES)
def test_the_doctor_finds(illness: str) -> None:
    launcher, check, verdict, said = ILLNESSES[illness]
    code = (
        "import sys\nfrom data_server.commands.doctor import *\nfrom shared.doctor import examine\n"
        "print(*examine(lambda: CHECKS[sys.argv[1]](Options(2, default_address()))))\n"
    )
    command = [*launcher, sys.executable, "-c", code, check]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith(f"{verdict} ") and said in done.stdout, done.stdout + done.stderr


def test_a_fault_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {name: CHECKS[name] for name in ("kernel", "address")})
    assert doctor.main(["--listen", "ipc:///" + "d" * 120]) == 3
    kernel, address = capsys.readouterr().out.splitlines()
    assert kernel.startswith("ok ")
    assert address.startswith("fault ") and "the kernel allows 107" in address
    assert doctor.main(["--listen", "ipc:///tmp/never"]) == 0


def test_what_the_control_group_allows_is_told_where_it_is_less(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "CONTROL_GROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    verdict, text = examine(functools.partial(CHECKS["processors"], Options(2, "")))
    assert verdict == "warning"
    assert text.endswith("the control group allows 0.5, for 2 workers; --workers 1 would do as much")
    for plenty in ("max 100000", "999999999 100000"):
        (tmp_path / "cpu.max").write_text(plenty)
        verdict, text = examine(functools.partial(CHECKS["processors"], Options(1, "")))
        assert verdict == "ok" and text.endswith("cores may be used, for 1 workers")
    (tmp_path / "memory.max").write_text(f"{700 << 20}\n")
    assert "the control group allows 700 MiB" in examine(functools.partial(CHECKS["memory"], Options(1, "")))[1]
    (tmp_path / "memory.max").write_text("max\n")
    assert "no control group bounds it" in examine(functools.partial(CHECKS["memory"], Options(1, "")))[1]


@pytest.mark.parametrize(
    ("system", "release", "verdict", "says"),
    [
        ("Linux", "5.4.0-42-generic", "ok", "Linux 5.4.0-42-generic, "),
        ("Linux", "6.1", "ok", "Linux 6.1, "),
        ("Linux", "5.3.18-lp152", "fault", "Linux 5.3.18-lp152; needed is 5.4 or newer"),
        ("Linux", "4.19.0", "fault", "Linux 4.19.0; needed is 5.4 or newer"),
        ("Darwin", "23.1.0", "fault", "Darwin; the data server needs Linux, a container or a virtual machine will do"),
    ],
)
def test_a_kernel_that_lacks_what_is_needed_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, verdict: str, says: str
) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: system)
    monkeypatch.setattr(doctor.platform, "release", lambda: release)
    found, text = examine(functools.partial(CHECKS["kernel"], Options(1, "")))
    assert found == verdict and text.startswith(says)


@pytest.mark.parametrize(("left", "verdict"), [(2048, "ok"), (2047, "warning")])
def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch, left: int, verdict: str) -> None:
    monkeypatch.setattr(doctor, "available", lambda: left << 20)
    found, text = examine(functools.partial(CHECKS["memory"], Options(1, "")))
    assert found == verdict and text.startswith(f"{left} MiB left of ")
    assert text.endswith("; 2048 MiB or more are advised") == (verdict == "warning")


@pytest.mark.parametrize(
    ("build", "unreadable", "verdict", "says"),
    [
        ("\n  JPEG:   libjpeg-turbo (ver 3)\n  PNG: x", "", "ok", "JPEG, PNG and WebP can be read"),
        ("  JPEG:   build (ver 9)", "", "warning", "with build (ver 9), not libjpeg-turbo: JPEG files take longer"),
        ("nothing", "", "warning", "with an unknown JPEG library, not libjpeg-turbo"),
        ("  JPEG: libjpeg-turbo", "webp", "fault", "with libjpeg-turbo cannot read webp; pip install opencv"),
    ],
)
def test_what_opencv_cannot_read_is_told(
    monkeypatch: pytest.MonkeyPatch, build: str, unreadable: str, verdict: str, says: str
) -> None:
    import cv2

    encode = cv2.imencode

    def without(kind: str, picture: object) -> object:
        if kind == f".{unreadable}":
            raise cv2.error("no encoder")
        return encode(kind, picture)

    monkeypatch.setattr(cv2, "imencode", without)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: build)
    found, text = examine(functools.partial(CHECKS["image codecs"], Options(1, "")))
    assert found == verdict and says in text


def test_temporary_directories_that_are_no_places_for_sockets_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.address.COMMON", "/proc")
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    verdict, text = examine(functools.partial(CHECKS["temporary directory"], Options(1, "")))
    assert verdict == "fault"
    assert "(/nowhere: No such file or directory; /proc: No such file or directory); set TMPDIR" in text


def test_a_place_where_no_socket_can_be_made_is_named() -> None:
    assert examine(functools.partial(CHECKS["address"], Options(1, "ipc:///proc/feed"))) == (
        "fault",
        "sockets for ipc:///proc/feed cannot be made in /proc: No such file or directory; choose another --listen",
    )


def test_an_address_that_is_served_is_no_fault(long_lived_cluster) -> None:
    text = long_lived_cluster.address.text
    assert examine(functools.partial(CHECKS["address"], Options(1, text))) == ("ok", f"a data server answers at {text}")


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The project as installed, with requirements of one's choice."""

    def declare(*requirements: str) -> tuple[str, str]:
        folder = tmp_path / "unidetector_jittor-9.dist-info"
        folder.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.1", f"Name: {PROJECT}", "Version: 9"]
        (folder / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {text}" for text in requirements)]))
        monkeypatch.syspath_prepend(str(tmp_path))
        return examine(functools.partial(CHECKS["versions"], Options(1, "")))

    return declare


def test_packages_are_held_against_what_is_declared(declared) -> None:
    numpy = importlib.metadata.version("numpy")
    assert declared("numpy>=1.26.4,<2", "jittor==0; extra == 'trainer'") == ("ok", f"numpy {numpy}")
    assert declared("numpy<1.2", "no-such-thing>=1; extra == 'data-server'") == (
        "fault",
        f"numpy is {numpy}, expected <1.2; no-such-thing is missing; pip install -e '.[data-server]'",
    )
