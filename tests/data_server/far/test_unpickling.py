"""A pickle that names a class or function runs it. Only Ray's own processes read such pickles, and the launcher, which
talks to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import digests
from tests.data_server.far.far_cluster import FarCluster
from tests.photos import config_of

pytest.importorskip("ray", reason="Ray is not installed: pip install 'unidetector-jittor[far]'")
pytestmark = pytest.mark.chaos

HEARD, LISTENS = "UNPICKLED", "listens"
# Python imports it in every process that starts; forked ones inherit the hook.
HOOK = f"""
import os, sys

def note(what):
    with open("/proc/self/cmdline") as command, open(os.environ["{HEARD}"], "a") as heard:
        heard.write(command.read().replace(chr(0), " ") + "| " + what + chr(10))

def hear(event, arguments):
    if event == "pickle.find_class":
        note(" ".join(map(str, arguments[1:])))

sys.addaudithook(hear)
note("{LISTENS}")
"""


def test_no_pickle_that_names_anything_is_read_but_by_the_launcher_and_rays_own_processes(
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
    lines = [line.rpartition("| ") for line in (tmp_path / "heard").read_text().splitlines()]
    listening = [command for command, _, what in lines if what == LISTENS]
    for ours in ("-m data_server --workers", "data_server.workers.nursery", "data_server.far.agent"):
        assert any(ours in command for command in listening)
    readers = {command for command, _, what in lines if what != LISTENS}
    assert any(command.startswith("ray::") for command in readers)
    assert {one for one in readers if "data_server" in one and "data_server.far.launcher" not in one} == set()
