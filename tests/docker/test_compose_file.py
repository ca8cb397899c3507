"""docker-compose.yml and the Dockerfiles as text: what design and isolation ask of them. Needs no engine."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
SERVED_BY = {
    "trainer": "data_server",
    "trainer-gpu": "data_server",
    "trainer-mpi": "data_server",
    "trainer-ray": "ray-head",
}


def services() -> dict:
    return yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]


def test_no_service_shares_ipc_or_pids_or_asks_for_more_shared_memory():
    for service in services().values():
        assert not {"ipc", "shm_size", "pid", "privileged"} & service.keys()


def test_data_are_read_only_for_all_but_the_server_that_makes_them():
    for name, service in services().items():
        (data,) = (volume for volume in service["volumes"] if volume.split(":")[0] == "data")
        assert data.endswith(":ro") == (name not in ("data_server", "ray-head")), name


def test_every_service_but_the_nodes_of_others_has_a_limit_of_memory_that_a_variable_raises():
    limits = {name: service.get("mem_limit") for name, service in services().items()}
    assert limits.pop("ray-worker") is None  # its workers belong to a recipe's plan, of which there is none here
    for name, limit in limits.items():
        side = "PAGE" if name.startswith("page") else "TRAINER" if name.startswith("trainer") else "DATA_SERVER"
        assert re.fullmatch(rf"\$\{{{side}_MEMORY:-\d+g\}}", limit), name


def test_the_page_sees_no_socket_and_is_open_to_this_machine_alone_with_a_token():
    for name in ("page", "page-gpu", "page-ray"):
        page = services()[name]
        assert not [volume for volume in page["volumes"] if volume.startswith("feed:")]
        assert [port.split(":")[0] for port in page["ports"]] == ["127.0.0.1"]
        assert '--token "$$TOKEN"' in page["command"][-1]


def test_the_trainer_waits_until_the_data_server_is_healthy_and_the_page_until_there_is_something_to_serve():
    all_of = services()
    assert "is_served" in all_of["data_server"]["healthcheck"]["test"][-1]
    assert all_of["ray-head"]["healthcheck"] == all_of["data_server"]["healthcheck"]
    for trainer, server in SERVED_BY.items():
        assert all_of[trainer]["depends_on"] == {server: {"condition": "service_healthy"}}
        if trainer != "trainer-mpi":
            page = trainer.replace("trainer", "page")
            assert all_of[page]["depends_on"] == {trainer: {"condition": "service_completed_successfully"}}


def test_what_the_page_serves_is_what_the_recipe_leaves_and_make_demo_ends_with():
    command = " ".join(services()["page"]["command"][-1].split())
    makefile = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    served = " ".join(re.search(r"^SERVED := (.*)$", makefile, re.MULTILINE).group(1).split())
    assert command.endswith(served)
    work_dir = re.search(r"--work-dir (\S+)", services()["trainer"]["command"]).group(1)
    assert f"--report {work_dir}/report.html" in command and f"{work_dir}/stage_2/" in served


def test_the_hostname_of_the_trainer_is_fixed_because_the_kernel_cache_depends_on_it():
    with_kernels = {name for name, service in services().items() if "kernels" in str(service["volumes"])}
    assert with_kernels == {name for name in services() if name.startswith(("trainer", "page"))}
    assert {services()[name]["hostname"] for name in with_kernels} == {"trainer"}


def test_only_the_trainer_of_the_gpu_profile_asks_for_a_gpu():
    with_gpu = {name for name, service in services().items() if "deploy" in service}
    assert with_gpu == {"trainer-gpu"}


def test_the_data_server_image_installs_the_torch_that_the_project_pins():
    pinned = re.search(r'"(torch==[^"]+)"', (REPOSITORY / "pyproject.toml").read_text()).group(1)
    assert f" {pinned}\n" in (REPOSITORY / "data_server" / "Dockerfile").read_text()


def test_the_images_install_nothing_but_what_the_lock_file_pins_as_pyproject_asks():
    pinned: dict[str, list[str]] = {}
    lock = (REPOSITORY / "requirements.lock").read_text()
    for name, version in re.findall(r"^([\w.-]+)==([\w.+-]+)", lock, re.MULTILINE):
        pinned.setdefault(name, []).append(version)
    for side in ("data_server", "trainer"):
        dockerfile = (REPOSITORY / side / "Dockerfile").read_text()
        assert dockerfile.index("PIP_CONSTRAINT=/opt/venv/requirements.lock") < dockerfile.index(" pip install")
    for requirement in map(Requirement, requires("unidetector-jittor") or ()):
        extras = ("data-server", "far", "trainer", "mpi")
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            versions = pinned[canonicalize_name(requirement.name)]
            assert all(requirement.specifier.contains(version) for version in versions), str(requirement)


def test_both_images_run_as_the_same_user():
    users = {
        re.search(r"useradd --uid (\d+)", (REPOSITORY / side / "Dockerfile").read_text()).group(1)
        for side in ("data_server", "trainer")
    }
    assert len(users) == 1


def test_a_profile_trains_once_with_everything_that_it_depends_on_and_demo_is_the_one_that_is_used_unasked():
    all_of = services()
    assert (REPOSITORY / ".env").read_text() == "COMPOSE_PROFILES=demo\n"
    for profile in ("demo", "gpu", "ray", "mpi"):
        members = {name for name, service in all_of.items() if profile in service["profiles"]}
        assert len(members & SERVED_BY.keys()) == 1, members
        assert {needed for name in members for needed in all_of[name].get("depends_on", ())} <= members


def test_the_images_of_the_profiles_ray_and_mpi_alone_are_built_with_more_than_the_others():
    extras = {name: service["build"].get("args", {}).get("EXTRAS") for name, service in services().items()}
    more = {"ray-head": "far", "ray-worker": "far", "trainer-mpi": "mpi"}
    assert extras == {name: more.get(name) for name in services()}


def test_the_nodes_of_the_ray_cluster_ask_for_a_token_that_others_do_not_see():
    all_of = services()
    nodes = {name for name, service in all_of.items() if "cluster:" in str(service["volumes"])}
    assert nodes == {"ray-head", "ray-worker"}
    for name in nodes:
        assert all_of[name]["environment"]["RAY_AUTH_MODE"] == "token" and "ports" not in all_of[name]
    for volume in all_of["ray-worker"]["volumes"]:
        assert volume.endswith(":ro")


def test_a_stop_of_the_ranks_is_the_signal_at_which_they_write_a_checkpoint():
    ranks = services()["trainer-mpi"]
    assert ranks["stop_signal"] == "SIGUSR1" and "--resume" in ranks["command"]
