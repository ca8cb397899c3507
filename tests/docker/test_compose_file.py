"""docker-compose.yml and the Dockerfiles as text: what design and isolation ask of them. Needs no engine."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def services() -> dict:
    return yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]


def test_no_service_shares_ipc_or_pids_or_asks_for_more_shared_memory():
    for service in services().values():
        assert not {"ipc", "shm_size", "pid", "privileged"} & service.keys()


def test_the_only_volume_that_both_sides_mount_is_the_one_of_the_sockets():
    mounted = {name: {volume.split(":")[0] for volume in service["volumes"]} for name, service in services().items()}
    assert mounted["data_server"] & mounted["trainer"] == {"feed"}


def test_the_trainer_waits_until_the_data_server_is_healthy_and_goes_on_where_it_stopped():
    both = services()
    assert both["trainer"]["depends_on"] == {"data_server": {"condition": "service_healthy"}}
    assert "is_served" in both["data_server"]["healthcheck"]["test"][-1]
    assert "--resume" in both["trainer"]["command"]


def test_the_hostname_of_the_trainer_is_fixed_because_the_kernel_cache_depends_on_it():
    assert services()["trainer"]["hostname"]


def test_only_the_trainer_of_the_gpu_profile_asks_for_a_gpu():
    with_gpu = {name for name, service in services().items() if "deploy" in service}
    assert with_gpu == {"trainer-gpu"}
    assert services()["trainer-gpu"]["profiles"] == ["gpu"]


def test_the_data_server_image_installs_the_torch_that_the_project_pins():
    pinned = re.search(r'"(torch==[^"]+)"', (REPOSITORY / "pyproject.toml").read_text()).group(1)
    assert f" {pinned}\n" in (REPOSITORY / "data_server" / "Dockerfile").read_text()


def test_both_images_run_as_the_same_user():
    users = {
        re.search(r"useradd --uid (\d+)", (REPOSITORY / side / "Dockerfile").read_text()).group(1)
        for side in ("data_server", "trainer")
    }
    assert len(users) == 1
