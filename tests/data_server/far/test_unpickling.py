"""Whoever unpickles what others send can be made to run anything: only Ray's own processes do, and the launcher, which
talks to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import digests
from tests.data_server.far.far_cluster import FarCluster
from tests.photos import config_of

pytest.importorskip("ray", reason="Ray is not installed: pip install 'unidetector-jittor[far]'")
pytestmark = pytest.mark.chaos

HEARD = "UNPICKLED"
# Python imports it in every process that starts; forked ones inherit the hook.
HOOK = f"""
import os, sys

def hear(event, arguments):
    if event == "pickle.find_class":
        with open("/proc/self/cmdline") as command, open(os.environ["{HEARD}"], "a") as heard:
            heard.write(command.read().replace(chr(0), " ") + "| " + " ".join(map(str, arguments[1:])) + chr(10))

sys.addaudithook(hear)
"""


def test_nothing_is_unpickled_but_by_the_launcher_and_rays_own_processes(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    (tmp_path / "heard").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv(HEARD, str(tmp_path / "heard"))
    cluster = FarCluster(workers=1)
    digests(cluster.open(config_of(photos)), 24)
    cluster.close_streams()
    cluster.stop()
    heard = (tmp_path / "heard").read_text().splitlines()
    assert any(line.startswith("ray::") for line in heard)
    ours = [line for line in heard if "data_server" in line.partition("|")[0]]
    assert [line for line in ours if "data_server.far.launcher" not in line] == []
