"""Both images built, run and broken with docker-compose.yml, on whatever engine ``docker`` reaches.

``make docker-test`` runs them, in order: they share one project of containers, which is removed at the end. The demo's
training is shortened. The first time expect twenty minutes on two cores: the images are built and Jittor compiles its
core and kernels. The images and the volume with the kernels stay, so that the next time is quick.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.docker
REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "unidetector-test"
EPOCHS = 4
IMAGES = 80  # of each training set: 20 steps in an epoch
WORK_DIR = "work_dirs/demo_cln"
START_SECONDS = 1800  # the first start compiles Jittor's core and kernels
FEW_IMAGES = (
    f"train_dataloader.dataset.datasets.0.indices={IMAGES} train_dataloader.dataset.datasets.1.indices={IMAGES} "
    "val_dataloader.dataset.indices=16 test_dataloader.dataset.indices=16"
)


@functools.cache
def missing_engine() -> str | None:
    """Why the containers cannot be run here; None when they can."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        return "no Docker engine answers (is DOCKER_HOST set?)"
    return None if compose_command() else "neither docker compose nor docker-compose is installed"


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    if plugin.returncode == 0:
        return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else None


class Project:
    """The containers of one test run."""

    def compose(self, *arguments: str, options: str = "") -> str:
        """Runs a compose command with TRAINER_OPTIONS=`options` and returns its output."""
        return self._run([*compose_command(), "-p", PROJECT, *arguments], {"TRAINER_OPTIONS": options})

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments], {})

    def container(self, service: str) -> str:
        return self.compose("ps", "-aq", service).strip()

    def log(self, service: str) -> str:
        command = ["docker", "logs", self.container(service)]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def wait_for(self, what: str, happened: Callable[[], bool], seconds: float) -> None:
        """Polls; fails with the logs when the time is up or the trainer has ended before."""
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline or not self.is_running("trainer"):
                pytest.fail(f"{what}: not so\n{self.log('data_server')}\n{self.log('trainer')[-4000:]}")
            time.sleep(1)

    def is_running(self, service: str) -> bool:
        return self.docker("inspect", "-f", "{{.State.Running}}", self.container(service)).strip() == "true"

    def exit_code(self, service: str) -> int:
        """Waits for the end of the service's container."""
        return int(self.docker("wait", self.container(service)))

    def remove(self) -> None:
        """Removes containers, network and volumes, apart from the one with the kernels."""
        self.compose("down")
        self.docker("volume", "rm", "--force", *(f"{PROJECT}_{name}" for name in ("feed", "data", "work_dirs")))

    def _run(self, command: list[str], environment: dict[str, str]) -> str:
        environment = {**os.environ, **environment}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        said = (done.stdout + done.stderr)[-4000:]
        assert done.returncode == 0, f"{' '.join(command)} ended with code {done.returncode}:\n{said}"
        return done.stdout


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    if reason := missing_engine():
        pytest.skip(reason)
    project = Project()
    project.remove()  # what a killed test run left
    project.compose("build", "data_server", "trainer")
    yield project
    project.remove()


def packages(project: Project, service: str) -> set[str]:
    listing = project.compose("run", "--rm", "--no-deps", "-T", service, "pip", "list", "--format=freeze")
    return {line.split("==")[0].lower() for line in listing.splitlines() if "==" in line}


@pytest.mark.timeout(3600)
def test_the_trainer_image_has_jittor_and_nothing_of_torch(project):
    found = packages(project, "trainer")
    assert "jittor" in found
    assert not {"torch", "torchvision", "onedl-mmcv", "onedl-mmdetection"} & found


@pytest.mark.timeout(600)
def test_the_data_server_image_has_torch_and_nothing_of_jittor(project):
    found = packages(project, "data_server")
    assert {"torch", "onedl-mmdetection"} <= found
    assert not {"jittor", "jittor-offline"} & found


@pytest.mark.timeout(2 * START_SECONDS)
def test_a_trainer_killed_in_mid_run_goes_on_at_its_checkpoint_and_trains_to_the_end(project):
    options = f"--cfg-options train_cfg.max_epochs={EPOCHS} {FEW_IMAGES}"
    project.compose("up", "-d", "data_server", "trainer", options=options)
    first_checkpoint = f"{WORK_DIR}/epoch_1.safetensors"
    project.wait_for("a first checkpoint", lambda: _has_file(project, first_checkpoint), START_SECONDS)
    project.docker("kill", "-s", "KILL", project.container("trainer"))
    assert project.exit_code("trainer") == 137
    # PID namespaces are separate: only the end of the Unix socket can have told the data server.
    assert "the trainer is gone" in project.log("data_server")

    project.compose("up", "-d", "data_server", "trainer", options=options)
    assert project.exit_code("trainer") == 0
    log = project.log("trainer")
    resumed = re.search(r"resumed from \S+ at step (\d+)", log)
    assert resumed, log[-4000:]
    assert 0 < int(resumed.group(1)) < EPOCHS * 2 * IMAGES // 8
    assert "val_never_seen" in log, "the table of results"


@pytest.mark.timeout(300)
def test_the_run_left_its_results_in_the_volume(project):
    listing = project.compose("run", "--rm", "--no-deps", "-T", "trainer", "ls", WORK_DIR)
    for name in (f"epoch_{EPOCHS}.safetensors", "metrics.jsonl", "contact_sheet.png", "tensorboard"):
        assert name in listing


def _has_file(project: Project, path: str) -> bool:
    return project.is_running("trainer") and "yes" in project.compose(
        "exec", "-T", "trainer", "sh", "-c", f"test -f {path} && echo yes || echo no"
    )
