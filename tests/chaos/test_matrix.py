"""The crash matrix: everybody is killed at every step of the protocol, and asked to end at every step.

    victim       is killed at                    who continues
    trainer      each client.* point             another trainer, from the checkpoint, at the same server
    server       each server.* point             another trainer, from the checkpoint, at another server
    worker       each worker.* point, for ever   the same trainer
    trainer that embeds its server               another trainer, from the checkpoint, at another server

Whatever is killed: the batches and the metrics are those of an undisturbed run, and two seconds later nothing is left.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_server.machine.fields import fields
from tests.chaos.lives import Trace, Trainer, descriptors, undisturbed
from tests.cluster import PATIENCE, ROOT, Cluster, wait_for
from tests.photos import config_of

EPOCHS = 3
TRAINER = {
    "client.connected": 1,
    "client.hailed": 1,
    "client.ready": 1,
    "client.hello": 1,
    "client.welcome": 1,
    "client.batch": 6,
    "client.lease": 6,
    "client.release": 6,
    "client.released": 6,
    "client.checkpointed": 2,
    "client.predictions": 1,
    "client.evaluate": 1,
    "client.metrics": 1,
    "client.goodbye": 1,
}
SERVER = {
    "server.hailed": 1,
    "server.hello": 1,
    "server.built": 1,
    "server.arena": 1,
    "server.welcomed": 1,
    "server.assigned": 6,
    "server.wrote": 6,
    "server.leased": 6,
    "server.batch": 6,
    "server.released": 6,
    "server.checkpointed": 2,
    "server.predictions": 1,
    "server.evaluate": 1,
    "server.metrics": 1,
    "server.goodbye": 1,
}
# Each new worker comes to its point again, so each must have done something before.
WORKER = {
    "worker.assigned": 3,
    "worker.sample": 4,
    "worker.loaded": 2,
    "worker.written": 2,
    "worker.sealed": 2,
    "worker.wrote": 1,
}
# A server takes seconds to start: of what needs one to itself the usual tests have a part, ``make chaos`` the rest.
USUAL_SERVER = ("server.built", "server.assigned", "server.batch", "server.metrics")
USUAL_STOPS = ("server.batch",)
USUAL_WORKER = ("worker.sample",)
USUAL_EMBEDDED = ("client.connected", "client.lease", "client.goodbye")
# A process that is asked to end needs a moment, which is longer where the machine is busy with other tests.
STOP_SECONDS = 2.0 * PATIENCE


def cells(points: dict[str, int], usual: tuple[str, ...] | None = None) -> list:
    """One test for each point; those that are not `usual` only with ``-m chaos``."""
    return [
        pytest.param(
            f"{point}:{times}", id=point, marks=[pytest.mark.chaos] if usual is not None and point not in usual else []
        )
        for point, times in points.items()
    ]


@pytest.fixture(scope="module")
def config(photos):
    return config_of(photos)


@pytest.fixture(scope="module")
def known(long_lived_cluster, config):
    return undisturbed(long_lived_cluster, config, EPOCHS)


@pytest.fixture
def trace() -> Iterator[Trace]:
    with Trace() as trace:
        yield trace


@pytest.fixture
def trainer(tmp_path, config, known):
    return Trainer(tmp_path / "trainer", config, known)


def mortal(fault: str, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A server in whose processes `fault` strikes."""
    monkeypatch.setenv("FAULT", fault)
    try:
        return Cluster()
    finally:
        monkeypatch.delenv("FAULT")


def assert_clean(log: str) -> None:
    assert "Traceback" not in log, log


@pytest.mark.parametrize("number", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.chaos)])
@pytest.mark.parametrize("fault", cells(TRAINER))
def test_a_trainer_that_dies_is_followed_by_one_that_gets_the_same_batches(cluster, trainer, trace, fault, number):
    before = descriptors(cluster.server.pid)
    assert trainer.live(cluster.address.text, f"{fault}:{number}") == -signal.Signals[number]
    trace.assert_nothing_left()
    wait_for(cluster.is_idle, 2)
    assert trainer.live(cluster.address.text) == 0
    trainer.assert_undisturbed()
    wait_for(lambda: cluster.is_idle() and descriptors(cluster.server.pid) <= before, 2)
    assert_clean(cluster.log)


@pytest.mark.chaos
@pytest.mark.parametrize("fault", cells(TRAINER))
def test_a_trainer_that_dies_is_followed_by_one_that_takes_over_its_stream(cluster, photos, known, tmp_path, fault):
    trainer = Trainer(tmp_path / "trainer", config_of(photos, feed={"linger_seconds": 30}), known)
    assert trainer.live(cluster.address.text, fault) == -signal.SIGKILL
    assert trainer.live(cluster.address.text) == 0
    trainer.assert_undisturbed()
    wait_for(cluster.is_idle, 2)
    assert_clean(cluster.log)


@pytest.mark.parametrize("fault", cells(SERVER, usual=USUAL_SERVER))
def test_a_server_that_dies_is_followed_by_one_that_goes_on_with_the_same_batches(
    cluster, trainer, trace, monkeypatch, fault
):
    victim = mortal(fault, monkeypatch)
    assert trainer.live(victim.address.text) == (0 if "goodbye" in fault else 1)
    assert victim.server.wait(120) == -signal.SIGKILL
    trace.assert_nothing_left()
    assert_clean(victim.log)
    assert trainer.live(cluster.address.text) == 0
    trainer.assert_undisturbed()
    victim.stop()


@pytest.mark.parametrize(("fault", "lives"), [("server.detached:1", 1), ("server.attached:1", 2)])
def test_a_server_that_dies_between_two_trainers_is_followed_by_one_that_goes_on(
    cluster, photos, known, tmp_path, trace, monkeypatch, fault, lives
):
    trainer = Trainer(tmp_path / "trainer", config_of(photos, feed={"linger_seconds": 30}), known)
    victim = mortal(fault, monkeypatch)
    codes = [trainer.live(victim.address.text, "client.lease:6" if life == 0 else "") for life in range(lives)]
    assert codes == [-signal.SIGKILL, 1][:lives]
    assert victim.server.wait(120) == -signal.SIGKILL
    trace.assert_nothing_left()
    assert trainer.live(cluster.address.text) == 0
    trainer.assert_undisturbed()
    assert_clean(victim.log)
    victim.stop()


@pytest.mark.parametrize("fault", cells(SERVER, usual=USUAL_STOPS))
def test_a_server_that_is_told_to_end_at_any_step_ends_with_nothing_left(cluster, trainer, trace, monkeypatch, fault):
    victim = mortal(f"{fault}:SIGTERM", monkeypatch)
    # The metrics may still get through, and then the trainer has all it wanted.
    assert trainer.live(victim.address.text) in (
        (0, 1) if fault.startswith(("server.metrics", "server.goodbye")) else (1,)
    )
    assert victim.server.wait(STOP_SECONDS) == 0
    trace.assert_nothing_left()
    assert not victim.address.directory.exists()
    assert_clean(victim.log)
    assert trainer.live(cluster.address.text) == 0
    trainer.assert_undisturbed()
    victim.stop()


@pytest.mark.parametrize("fault", cells(WORKER, usual=USUAL_WORKER))
def test_workers_that_die_at_one_step_again_and_again_change_no_byte(trainer, trace, monkeypatch, fault):
    server = mortal(fault, monkeypatch)
    assert trainer.live(server.address.text) == 0
    trainer.assert_undisturbed()
    assert " was killed by SIGKILL" in server.log
    assert_clean(server.log)
    server.stop()
    trace.assert_nothing_left()


def test_nurseries_that_die_with_the_data_set_just_built_end_the_stream_with_a_reason(trainer, trace, monkeypatch):
    server = mortal("nursery.built:1", monkeypatch)
    assert trainer.live(server.address.text) == 1
    (line,) = trainer.errors.splitlines()
    assert line.startswith(
        "error: the process that builds the data set died 3 times; see the data server's log (data set "
    )
    assert_clean(server.log)
    server.stop()
    trace.assert_nothing_left()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where an embedded server makes its own: a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="run") as name:
        yield Path(name)


@pytest.mark.parametrize("number", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.chaos)])
@pytest.mark.parametrize("fault", cells(TRAINER, usual=USUAL_EMBEDDED))
def test_a_trainer_that_dies_takes_its_embedded_server_with_it(cluster, trainer, trace, directory, fault, number):
    code = trainer.live("embedded", f"{fault}:{number}", XDG_RUNTIME_DIR=str(directory))
    assert code == -signal.Signals[number]
    trace.assert_nothing_left()
    assert not list(directory.iterdir())
    assert trainer.live(cluster.address.text) == 0
    trainer.assert_undisturbed()


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.4])
def test_a_trainer_that_dies_while_its_embedded_server_starts_leaves_nothing(trainer, trace, directory, seconds):
    process = trainer.start("embedded", XDG_RUNTIME_DIR=str(directory))
    wait_for(lambda: trainer.lives[0], 20)
    time.sleep(seconds)
    process.kill()
    process.wait()
    trace.assert_nothing_left()
    assert not list(directory.iterdir())
    assert trainer.errors == ""


def test_a_trainer_whose_embedded_server_dies_says_so_in_one_line(trainer, trace, directory):
    assert trainer.live("embedded", "server.batch:6", XDG_RUNTIME_DIR=str(directory)) == 1
    assert trainer.errors == "error: the embedded data server ended with code -9\n"
    trace.assert_nothing_left()
    assert not list(directory.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_a_server_that_is_told_to_end_while_it_starts_ends_cleanly(trace, directory, seconds, number):
    address = directory / "d"
    with (directory / "log").open("w") as log:
        command = [sys.executable, "-m", "data_server", "--listen", f"ipc://{address}"]
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    # Until Python has come to the server's first line nothing is there to be tidied up.
    wait_for(lambda: hears_sigterm(server.pid), 20)
    time.sleep(seconds)
    server.send_signal(number)
    assert server.wait(STOP_SECONDS) == 0
    trace.assert_nothing_left()
    assert not address.exists()
    assert_clean((directory / "log").read_text())


def hears_sigterm(process: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    return bool(int(fields(f"/proc/{process}/status")["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)
