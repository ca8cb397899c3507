"""What ``--ray`` says of a cluster that cannot be used, before anything is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.command_line import USER_ERROR
from tests.cluster import PATIENCE, ROOT

pytest.importorskip("ray", reason="Ray is not installed: pip install 'unidetector-jittor[far]'")

OPEN = "everybody who reaches a Ray cluster without a token may run code on it, and 192.0.2.1 can be reached"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there ("),
        ("192.0.2.1:6379", OPEN),
        ("local", "expected auto, or HOST:PORT"),
        ("auto", "it needs Ray; pip install 'unidetector-jittor[far]'"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if "needs Ray" in said:
        (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('No module named ray', name='ray')\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    words = ["-m", "data_server", "--listen", f"ipc://{tmp_path}/d", "--ray", address]
    ended = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=10 * PATIENCE, check=False
    )
    assert ended.returncode == USER_ERROR
    assert ended.stderr.startswith(f"error: --ray {address}: {said}") and ended.stderr.count("\n") == 1
    assert not (tmp_path / "d" / "lifeline").exists()
