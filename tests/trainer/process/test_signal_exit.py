"""Signals that come while nothing but C code runs."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.cluster import PATIENCE, ROOT
from trainer.process import signal_exit

# A regular expression that takes for ever, inside one call, as a compiler does inside Jittor.
BUSY = """
import re, signal, subprocess
from trainer.process.signal_exit import leave_at
for number in (signal.SIGTERM, signal.SIGINT):
    leave_at(number)
subprocess.Popen(["sh", "-c", "sleep 600; true"])
print("ready", flush=True)
re.match("(a+)+b", "a" * 100)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_a_process_that_python_cannot_reach_and_all_its_descendants(number, code):
    with subprocess.Popen([sys.executable, "-c", BUSY], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        descendants = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(120) == code
    assert len(descendants) == 2
    assert not psutil.wait_procs(descendants, timeout=2 * PATIENCE)[1]


def test_without_a_compiler_the_kernels_default_ends_the_process(tmp_path):
    code = "import os, signal; from trainer.process.signal_exit import leave_at; leave_at(15); os.kill(os.getpid(), 15)"
    environment = {"PATH": "/nowhere", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False)
    assert done.returncode == -signal.SIGTERM


@pytest.mark.usefixtures("homeless")
def test_without_a_home_too_the_kernels_default_ends_the_process(monkeypatch):
    monkeypatch.setattr(signal_exit, "_library", None)
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        signal_exit.leave_at(signal.SIGUSR2)
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR2, before)
