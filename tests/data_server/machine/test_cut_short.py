"""A mapped file that is cut short under a process that reads it: a line that names it, not a bare SIGBUS."""

import signal
import subprocess
import sys

import pytest

from tests.cluster import ROOT

SCRIPT = """
import mmap, os, signal, sys
import numpy as np
from data_server.machine.cut_short import end_with_a_line
place, change = sys.argv[1:]
np.ones(1 << 16, np.uint8).tofile(place)
content = np.memmap(place, np.uint8, "r")
end_with_a_line(lambda text: print(text, flush=True), 5)
if change == "cut":
    os.truncate(place, 5000)
elif change == "replaced":
    open(place + ".new", "wb").close()
    os.replace(place + ".new", place)
elif change == "something else":
    os.kill(os.getpid(), signal.SIGBUS)
print("sum", content[:4096].sum(), content.sum(), flush=True)
"""


def run(place, change):
    return subprocess.run([sys.executable, "-c", SCRIPT, place, change], cwd=ROOT, capture_output=True, text=True)


def test_to_read_what_a_file_lacks_by_now_ends_the_process_with_a_line_that_names_the_file(tmp_path):
    done = run(tmp_path / "a file", "cut")
    assert done.returncode == 5
    assert done.stdout.startswith(f"cut short while in use: '{tmp_path}/a file'; put another file in the place")


@pytest.mark.parametrize("change", ["replaced", "nothing"])
def test_a_file_that_another_takes_the_place_of_is_read_to_its_end(tmp_path, change):
    assert run(tmp_path / "file", change).stdout == "sum 4096 65536\n"


def test_another_bus_error_is_what_it_always_was(tmp_path):
    done = run(tmp_path / "file", "something else")
    assert done.returncode == -signal.SIGBUS and not done.stdout
