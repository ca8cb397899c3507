"""Both images built, run and broken with docker-compose.yml, on whatever engine ``docker`` reaches.

``make docker-test`` runs them, in order: they share one project of containers, which is removed at the end. The demo's
recipe is shortened. The first time expect most of an hour on two cores: the images are built and Jittor compiles its
core and kernels. The images and the volume with the kernels stay, so that the next time is quicker.
"""

from __future__ import annotations

import functools
import http.client
import json
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.docker
REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "unidetector-test"
PORT, TOKEN = 8765, "open sesame, please"
WORK_DIR = "work_dirs/open_world"
NOT_LOCKED = ("pip", "setuptools", "unidetector-jittor")  # those that a virtual environment begins with, and ours
MIB = 1 << 20
START_SECONDS = 3600  # the first start compiles Jittor's core and kernels
# 80 images of each training set are 21 steps in an epoch.
_CHANGES = {
    "train_dataloader.dataset.datasets.0": 80,
    "train_dataloader.dataset.datasets.1": 80,
    "val_dataloader.dataset": 16,
}
OPTIONS = "--cfg-options " + " ".join(f"options.{place}.indices={images}" for place, images in _CHANGES.items())


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

    def compose(self, *arguments: str) -> str:
        """Runs a compose command and returns its output."""
        environment = {"RECIPE_OPTIONS": OPTIONS, "PORT": str(PORT), "TOKEN": TOKEN}
        return self._run([*compose_command(), "-p", PROJECT, *arguments], environment)

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments], {})

    def container(self, service: str) -> str:
        return self.compose("ps", "-aq", service).strip()

    def log(self, service: str) -> str:
        command = ["docker", "logs", self.container(service)]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def wait_for(self, what: str, happened: Callable[[], bool], seconds: float, service: str = "trainer") -> None:
        """Polls; fails with the logs when the time is up or the service has ended before."""
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline or not self.is_running(service):
                pytest.fail(f"{what}: not so\n{self.log('data_server')}\n{self.log(service)[-4000:]}")
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
    project.compose("build", "data_server", "trainer", "page")
    yield project
    project.remove()


def packages(project: Project, service: str) -> dict[str, str]:
    """What pip has installed in the image, by name: the version, as PyPI has it."""
    listing = project.compose("run", "--rm", "--no-deps", "-T", service, "pip", "list", "--format=freeze")
    return {canonicalize_name(name): version.split("+")[0] for name, version in re.findall(r"(\S+)==(\S+)", listing)}


def assert_locked(found: dict[str, str]) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE))
    assert set(found.items()) - pinned <= {(name, found.get(name)) for name in NOT_LOCKED}


@pytest.mark.timeout(3600)
def test_the_trainer_image_has_jittor_and_nothing_of_torch(project):
    found = packages(project, "trainer")
    assert "jittor" in found
    assert not {"torch", "torchvision", "onedl-mmcv", "onedl-mmdetection"} & found.keys()
    assert_locked(found)


@pytest.mark.timeout(600)
def test_the_data_server_image_has_torch_and_nothing_of_jittor(project):
    found = packages(project, "data_server")
    assert {"torch", "onedl-mmdetection"} <= found.keys()
    assert not {"jittor", "jittor-offline"} & found.keys()
    assert_locked(found)


@pytest.mark.timeout(4 * START_SECONDS)
def test_the_recipe_goes_on_after_the_kill_of_either_side_and_ends_with_the_table(project):
    up = ("up", "-d", "data_server", "trainer")
    project.compose(*up)
    project.wait_for("a checkpoint", lambda: _has_file(project, "stage_1/epoch_1.safetensors"), START_SECONDS)
    project.docker("kill", "-s", "KILL", project.container("trainer"))
    assert project.exit_code("trainer") == 137
    # PID namespaces are separate: only the end of the Unix socket can have told the data server.
    assert "the trainer is gone" in project.log("data_server")
    project.compose(*up)
    project.wait_for("a checkpoint", lambda: _has_file(project, "stage_2/epoch_1.safetensors"), START_SECONDS)
    project.docker("kill", "-s", "KILL", project.container("data_server"))
    project.compose(*up)
    assert project.exit_code("trainer") == 0
    log = project.log("trainer")
    assert re.search(r"resumed from \S+ at step [1-9]", log), log[-4000:]
    assert "never seen" in log and f"report: {WORK_DIR}/report.html" in log, "the table of results"


@pytest.mark.timeout(600)
def test_the_memory_that_the_data_server_planned_is_its_containers_limit_rounded_up_to_a_gibibyte(project):
    """A recipe has two streams open at most, of training and of evaluation."""
    log = project.log("data_server")
    plans = sorted(float(one) for one in re.findall(r"memory plan .* = ([\d.]+) MiB, beside", log))
    own = max(float(one) for one in re.findall(r"beside (\d+) MiB of the data server's own", log))
    limit = int(project.docker("inspect", "-f", "{{.HostConfig.Memory}}", project.container("data_server"))) / MIB
    assert own > 100 and len(plans) > 2
    assert limit == 1024 * math.ceil((own + sum(plans[-2:])) / 1024)
    for service in ("data_server", "trainer"):
        assert project.docker("inspect", "-f", "{{.State.OOMKilled}}", project.container(service)).strip() == "false"


@pytest.mark.timeout(START_SECONDS)
def test_then_the_page_answers_with_boxes_and_the_report_and_again_after_a_kill(project):
    for _ in range(2):
        project.compose("up", "-d", "page")
        project.wait_for("the page", lambda: _status("/healthz") == 200, START_SECONDS / 2, "page")
        assert _status("/vocabulary") == 401
        status, body = _asked("/vocabulary")
        assert status == 200 and len(json.loads(body)["vocabularies"]) == 2
        status, report = _asked(json.loads(body)["report"])
        assert status == 200 and b"Open-world detection" in report
        picture = project.compose("exec", "-T", "page", "base64", "data/demo/val_base/000001.jpg")
        question = {"image": "".join(picture.split()), "names": ["red circle"]}
        status, answer = _asked("/detect", json.dumps(question).encode())
        assert status == 200 and json.loads(answer)["annotations"]
        project.docker("kill", "-s", "KILL", project.container("page"))


@pytest.mark.timeout(4 * START_SECONDS)
def test_the_numbers_are_those_of_a_run_that_nobody_disturbed(project):
    words = f"python -m trainer --recipe configs/demo/open_world.py --work-dir work_dirs/undisturbed {OPTIONS}"
    project.compose("run", "--rm", "-T", "trainer", *words.split(), "--data-server", "ipc:///run/feed/socket")
    for step in ("stage_1_recall", "base", "never_seen"):
        compared = [f"{place}/{step}/results.json" for place in (WORK_DIR, "work_dirs/undisturbed")]
        one, other = (
            json.loads(project.compose("run", "--rm", "--no-deps", "-T", "trainer", "cat", path)) for path in compared
        )
        assert one["results"] == other["results"] != {}


def _status(path: str) -> int:
    """That of a request without a token; 0 where nobody answers."""
    return _asked(path, token=None)[0]


def _asked(path: str, body: bytes | None = None, token: str | None = TOKEN) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def _has_file(project: Project, path: str) -> bool:
    return project.is_running("trainer") and "yes" in project.compose(
        "exec", "-T", "trainer", "sh", "-c", f"test -f {WORK_DIR}/{path} && echo yes || echo no"
    )
