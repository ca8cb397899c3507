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


def test_data_are_read_only_for_all_but_the_server_that_makes_them():
    for name, service in services().items():
        (data,) = (volume for volume in service["volumes"] if volume.split(":")[0] == "data")
        assert data.endswith(":ro") == (name != "data_server"), name


def test_the_page_sees_no_socket_and_is_open_to_this_machine_alone_with_a_token():
    for name in ("page", "page-gpu"):
        page = services()[name]
        assert not [volume for volume in page["volumes"] if volume.startswith("feed:")]
        assert [port.split(":")[0] for port in page["ports"]] == ["127.0.0.1"]
        assert '--token "$$TOKEN"' in page["command"][-1]


def test_the_trainer_waits_until_the_data_server_is_healthy_and_the_page_until_there_is_something_to_serve():
    all_of = services()
    assert "is_served" in all_of["data_server"]["healthcheck"]["test"][-1]
    for trainer, page in (("trainer", "page"), ("trainer-gpu", "page-gpu")):
        assert all_of[trainer]["depends_on"] == {"data_server": {"condition": "service_healthy"}}
        assert all_of[page]["depends_on"] == {trainer: {"condition": "service_completed_successfully"}}


def test_what_the_page_serves_is_what_the_recipe_leaves_and_make_demo_ends_with():
    command = " ".join(services()["page"]["command"][-1].split())
    makefile = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    served = " ".join(re.search(r"^SERVED := (.*)$", makefile, re.MULTILINE).group(1).split())
    assert command.endswith(served)
    work_dir = re.search(r"--work-dir (\S+)", services()["trainer"]["command"]).group(1)
    assert f"--report {work_dir}/report.html" in command and f"{work_dir}/stage_2/" in served


def test_the_hostname_of_the_trainer_is_fixed_because_the_kernel_cache_depends_on_it():
    assert services()["trainer"]["hostname"] == services()["page"]["hostname"] == services()["trainer-gpu"]["hostname"]


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
