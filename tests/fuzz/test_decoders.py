"""The short form of the fuzzing: hypothesis steers where the wrong frames are drawn; ``make fuzz`` is the long form."""

import contextlib
import random
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster import ROOT
from tests.fuzz import guard
from tests.fuzz.targets import TARGETS, Target

LIMITS = settings(max_examples=200, deadline=timedelta(seconds=guard.HANG_SECONDS))


@pytest.fixture(scope="module", autouse=True)
def audited() -> None:
    guard.install()
    for target in TARGETS.values():
        for seed in range(200):  # imports and caches that the first frames pay for
            with contextlib.suppress(*target.errors):
                target.run(target.draw(random.Random(seed)))


@pytest.mark.parametrize("target", TARGETS.values(), ids=str)
@given(seed=st.integers(0, 2**63))
@LIMITS
def test_a_wrong_frame_is_refused_with_the_documented_error_and_nothing_else_happens(target: Target, seed: int) -> None:
    target.try_frame(target.draw(random.Random(seed)))


@pytest.mark.parametrize("target", TARGETS.values(), ids=str)
@given(frame=st.binary(max_size=300))
@LIMITS
def test_raw_bytes_are_refused_with_the_documented_error_and_nothing_else_happens(target: Target, frame: bytes) -> None:
    target.try_frame(frame)


def test_the_frames_drawn_are_neither_all_good_nor_all_wrong() -> None:
    for target in TARGETS.values():
        accepted = sum(target.try_frame(target.draw(random.Random(seed))) for seed in range(300))
        assert 30 < accepted < 270, target.name


def target_that(run) -> Target:
    return Target("broken", ([],), bytes, lambda _: run(), (ValueError,))


BROKEN = {
    "an error of another kind": (lambda: {}[0], KeyError, "0"),
    "unpickling": (lambda: __import__("pickle").loads(b"cos\ngetpid\n."), guard.Forbidden, "pickle.find_class"),
    "running code": (lambda: eval("1"), guard.Forbidden, "compile"),
    "allocating": (lambda: bytes(guard.MAX_BYTES + 1), guard.TooMuch, "bytes taken"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_guard_sees(kind: str) -> None:
    run, error, said = BROKEN[kind]
    with pytest.raises(error, match=said):
        target_that(run).try_frame(b"")
    assert not target_that(lambda: int("x")).try_frame(b"")


def test_the_guard_kills_what_hangs_with_its_stacks() -> None:
    code = (
        "import tracemalloc\n"
        "from tests.fuzz import guard\n"
        "guard.HANG_SECONDS = 0.2\n"
        "guard.kill_when_hanging()\n"
        "tracemalloc.start()\n"
        "def hang():\n"
        "    sum(range(10**12))\n"
        "with guard.watched(alarm=True):\n"
        "    hang()\n"
    )
    hung = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert hung.returncode == -14
    assert "in hang" in hung.stderr


def test_the_long_form_runs_and_says_what_it_did() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--iterations", "300", "layout"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "layout       300 frames: " in done.stdout
