"""Which data server a trainer takes: the one it is given, the running one, or one of its own."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.address import Address, default_address
from shared.client import StreamFailed
from shared.errors import UserError
from shared.messages import Hello
from tests.photos import config_of
from tests.strangers_of_this_machine import STRANGER, by_another_user, everybodys_folder, only_root
from tests.trainer.runs import ROOT
from trainer.feed.server import DataServerLost, connect

NOTHING = Hello("train", {}, 0, 0, 1, 0, 0, 0, 1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_without_a_running_server_one_is_embedded_and_goes_with_the_trainer(home: Path) -> None:
    with connect(None, 1, print) as server:
        assert server.embedded
        while not server.address.is_served():
            time.sleep(0.02)
        directory = server.address.directory
        assert directory.parent == home
    assert not directory.exists()


def test_where_no_process_can_be_started_one_line_says_so_and_nothing_is_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    with pytest.raises(UserError, match=r"^the data server cannot be started: No such file or directory$"):
        connect(None, 1, print)
    assert list(home.iterdir()) == []


def test_a_running_server_at_the_default_address_is_joined(home: Path) -> None:
    command = [sys.executable, "-m", "data_server", "--workers", "1"]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ | {"XDG_RUNTIME_DIR": str(home)}
    )
    try:
        while not Address(default_address()).is_served():
            assert process.poll() is None
            time.sleep(0.02)
        with connect(None, 1, print) as server:
            assert not server.embedded and server.address.text == default_address()
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(120) == 0


@only_root
def test_a_default_address_that_another_user_took_first_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with everybodys_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        with by_another_user(Address(default_address()).directory.mkdir), connect(None, 1, said.append) as server:
            assert server.embedded and server.address.text != default_address()
    assert f"belongs to user {STRANGER}" in said[0] and said[0].endswith("starting a data server of its own")


def test_an_address_that_nobody_serves_is_waited_for_and_then_named(tmp_path: Path) -> None:
    said: list[str] = []
    lost = pytest.raises(DataServerLost, match=f"no data server answers at ipc://{tmp_path}/feed")
    with connect(f"ipc://{tmp_path}/feed", None, said.append) as server, lost:
        server.open(NOTHING, 0.2, print)
    assert any("waiting up to" in line for line in said)


@pytest.mark.parametrize(
    ("workers", "ray", "ignored"),
    [
        (None, None, ""),
        (4, None, " (--workers is ignored: the server has its own)"),
        (4, "auto", " (--workers and --ray are ignored: the server has its own)"),
    ],
)
def test_options_for_a_server_of_ones_own_are_ignored_with_a_word(
    tmp_path: Path, workers: int | None, ray: str | None, ignored: str
) -> None:
    said: list[str] = []
    with connect(f"ipc://{tmp_path}/feed", workers, said.append, ray=ray):
        assert said == [f"joining the data server at ipc://{tmp_path}/feed{ignored}"]


@pytest.mark.usefixtures("home")
def test_an_embedded_server_that_dies_at_once_is_not_waited_for() -> None:
    with connect("embedded", 1, print) as server:
        server._process.kill()
        server._process.wait()
        with pytest.raises(DataServerLost, match="ended with code -9"):
            server.open(NOTHING, 60, print)


@pytest.mark.usefixtures("home")
def test_an_embedded_servers_data_set_that_is_killed_while_it_is_built_says_so_with_its_memory(photos: Path) -> None:
    said: list[str] = []
    config = config_of(photos, custom_imports={"imports": ["tests.data_server.killed_import"]})
    with connect("embedded", 1, said.append) as server, pytest.raises(StreamFailed) as failure:
        server.open(dataclasses.replace(NOTHING, config=config), 60, print)
    assert said == ["the process that holds the data set died; building it again"] * 2
    found = re.fullmatch(
        r"the process that builds the data set died 3 times; what it said stands above \(data set "
        rf"{photos}/all\.json \(0 MiB\): (\d+) MiB of memory were held when that was last looked at, \d+ MiB were "
        r"available at the beginning\)",
        str(failure.value),
    )
    assert found and int(found[1]) >= 250  # of 300, which may not all be there yet when it is looked at


def test_an_address_of_another_form_is_refused() -> None:
    with pytest.raises(UserError, match="expected ipc:///DIRECTORY"):
        connect("localhost:5555", None, print)
