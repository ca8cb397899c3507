"""A call in a thread of its own: what it gives or raises, and that nobody waits for it at the end of the process."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tests.cluster import PATIENCE, ROOT
from trainer.process.background import in_background

ENDLESS = """
import threading
from trainer.process.background import in_background
in_background(threading.Event().wait)
"""


def test_the_result_is_there_when_the_call_has_ended_and_not_before() -> None:
    goes_on = threading.Event()
    future = in_background(lambda: goes_on.wait(PATIENCE) and "found")
    assert not future.done()
    goes_on.set()
    assert future.result(PATIENCE) == "found"


def test_what_it_raises_is_raised_where_the_result_is_taken() -> None:
    def fail() -> None:
        raise ValueError("no such image")

    with pytest.raises(ValueError, match="no such image"):
        in_background(fail).result(PATIENCE)


def test_a_process_ends_while_a_call_goes_on() -> None:
    assert subprocess.run([sys.executable, "-c", ENDLESS], cwd=ROOT, timeout=PATIENCE).returncode == 0
