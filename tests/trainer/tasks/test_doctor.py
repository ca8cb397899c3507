"""The trainer's doctor on this machine, and under what it is to find: each illness is set for a process alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.doctor import examine
from tests.cluster import ROOT
from trainer.process import gpu
from trainer.tasks import doctor
from trainer.tasks.doctor import CHECKS


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.slow
def test_a_machine_that_runs_these_tests_has_no_fault_and_every_check_says_one_line() -> None:
    done = run("-m", "trainer", "doctor")
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line[9:29].strip() for line in lines] == list(CHECKS)
    assert {line[:8].strip() for line in lines} <= {"ok", "warning"}
    assert " on CPU (" in lines[-1] or " on GPU (" in lines[-1]


EXAMINE = (
    "import sys\nfrom shared.doctor import examine\nfrom trainer.tasks.doctor import CHECKS\n"
    "print(*examine(CHECKS[sys.argv[1]]))\nassert not {'torch', 'jittor'} & set(sys.modules)\n"
)

# (environment, check, verdict, what is said)
ILLNESSES = {
    "no compiler": ({"cc_path": "/no/g++"}, "compiler", "fault", "there is no /no/g++; apt install g++ python3-dev"),
    "a compiler for nothing": ({"cc_path": "false"}, "compiler", "fault", "cannot compile for Python with OpenMP"),
    "no place for kernels": ({"HOME": "/proc", "JITTOR_HOME": ""}, "kernels", "fault", "which cannot be written"),
    "a GPU that is asked for": (
        {"TRAINER_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""},
        "graphics card",
        "fault",
        "TRAINER_DEVICE=cuda, but no GPU can be used: CUDA_VISIBLE_DEVICES='' hides every card",
    ),
    "a flag that breaks uploads": ({"trace_py_var": "3"}, "versions", "fault", "trace_py_var='3' breaks every upload"),
}


@pytest.mark.parametrize("illness", ILLNESSES)
def test_the_doctor_finds(illness: str) -> None:
    environment, check, verdict, said = ILLNESSES[illness]
    if check == "versions" and sys.version_info < (3, 11):
        pytest.skip("the flag works before Python 3.11")
    done = run("-c", EXAMINE, check, **environment)
    assert done.stdout.startswith(f"{verdict} ") and said in done.stdout and not done.stderr, done.stdout + done.stderr


@pytest.mark.slow
def test_a_jittor_that_cannot_be_imported_or_computes_wrongly_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("HOME", "/proc")
        patch.delenv("JITTOR_HOME", raising=False)
        verdict, text = examine(CHECKS["jittor"])
        assert verdict == "fault" and text.startswith("Jittor compiles its kernels into /proc/.cache")
    monkeypatch.setattr(doctor, "TRIAL", doctor.TRIAL.replace("0.5, np.float32", "0.25, np.float32"))
    expected = "a convolution and its gradients are [72.0, 18.0, 144.0], not [144.0, 36.0, 144.0]"
    assert examine(CHECKS["jittor"]) == ("fault", expected)


def test_little_space_for_kernels_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 1 << 60)
    verdict, text = examine(CHECKS["kernels"])
    assert verdict == "warning" and "JITTOR_HOME names another place" in text


def test_a_card_for_which_jittor_is_patched_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    card = gpu.Card("a card", (9, 0), 80 << 30)
    monkeypatch.setattr(gpu, "find", lambda: gpu.Gpu((card,), "580.1", (13, 0), (13, 0), (9, 13)))
    assert doctor.graphics_card().endswith(
        "CUDA 13.0, cuDNN 9.13; training uses the GPU, with a copy of Jittor 1.3.11.0 that is patched for it"
    )


def test_a_card_that_is_not_used_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("trainer.process.gpu.DEVICES", tmp_path)
    monkeypatch.setattr("trainer.process.gpu.KERNEL_MODULE", Path("/proc/version"))
    verdict, text = examine(CHECKS["graphics card"])
    assert verdict == "warning" and text.startswith("not used, training goes on on the CPU: an NVIDIA driver is")
