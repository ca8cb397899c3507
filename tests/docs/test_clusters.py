"""``docs/deploy/kubernetes``: manifests fit the schemas, our command lines, each other and docker-compose.yml. What
only a cluster can tell is not tested."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from packaging.requirements import Requirement
from ray.scripts.scripts import start as ray_start

from data_server.__main__ import parse as parse_data_server
from data_server.commands import scenes
from tests.cluster import PATIENCE, ROOT
from tests.docs.manifests import (
    ALL_COMMANDS,
    CUSTOM,
    EVERYTHING,
    MANIFESTS,
    PODS,
    SERVICES,
    commands,
    composed,
    containers,
    first_python,
    mounts,
    of,
    ours,
    pods_of,
    templates,
)
from tests.trainer.runs import mpirun
from trainer.__main__ import parse as parse_trainer

KUBERNETES = "1.33"  # the first in which sidecars are no longer beta
SECONDS = 20 * PATIENCE
ELASTIC = ["--elastic", "--far-workers", "6"]  # compose has no autoscaler
OF_A_CONTAINER = ("env", "resources", "securityContext")


@pytest.mark.parametrize(
    "document", EVERYTHING, ids=lambda document: f"{document['kind']} {document['metadata']['name']}"
)
def test_a_manifest_fits_the_schema_of_its_kind(document: dict[str, Any]) -> None:
    if (kind := f"{document['apiVersion']} {document['kind']}") in CUSTOM:
        schema = {"properties": CUSTOM[kind], "additionalProperties": False}
        jsonschema.validate(document["spec"], schema, jsonschema.Draft202012Validator)
        for template in templates(document):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, **template}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        if beside := document["spec"].get("autoscalerOptions"):
            one = {"name": "autoscaler", "image": "of-the-head", **{key: beside[key] for key in OF_A_CONTAINER}}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": {"containers": [one]}}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_command_is_one_that_its_program_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = set()
    for words in ALL_COMMANDS:
        program = Path(words[0]).name
        if program == "mpirun":
            launcher, words = words[: (start := first_python(words))], words[start:]
            hosts = tmp_path / "hosts"
            hosts.write_text("localhost slots=2\n")
            here = {"/etc/mpi/hostfile": str(hosts), "/app": str(tmp_path)}
            launcher = [here.get(word, word) for word in launcher]
            as_root = {f"OMPI_ALLOW_RUN_AS_ROOT{end}": "1" for end in ("", "_CONFIRM")}
            line = [mpirun(2)[0], *launcher[1:], "true"]
            subprocess.run(line, check=True, timeout=SECONDS, env={**os.environ, **as_root})
            program = "python"
        if program == "ray":
            assert words[1] in ("start", "get-auth-token")
            if words[1] == "start":
                ray_start.make_context("ray start", words[2:])
        elif program == "python":
            assert words[1] == "-m"
            if words[2] == "trainer":
                options = parse_trainer(words[3:])
                assert (ROOT / (options.recipe or options.config)).is_file()
            elif words[3] == "scenes":
                monkeypatch.chdir(tmp_path)
                scenes.main([*words[4:], "--train-images", "2", "--val-images", "2"])
                assert (tmp_path / "data" / "demo" / "scenes.json").is_file()
            else:
                parse_data_server(words[3:])
        else:
            assert program == "sshd"
        programs.add(" ".join((program, *words[2:3])) if program == "python" else program)
    assert programs == {"ray", "python trainer", "python data_server", "sshd"}


@pytest.mark.parametrize(
    ("file", "container", "service"),
    [
        ("job.yaml", "trainer", "trainer"),
        ("job.yaml", "data-server", "data_server"),
        ("raycluster.yaml", "trainer", "trainer-ray"),
        ("raycluster.yaml", "data-server", "ray-head"),
        ("mpijob.yaml", "launcher", "trainer-mpi"),
    ],
)
def test_the_containers_do_what_the_services_of_compose_do(file: str, container: str, service: str) -> None:
    (found,) = (one for one in containers(*pods_of(file)) if one["name"] == container)
    *others, last = ours(found["args"])
    assert [*others, [word for word in last if word not in ELASTIC]] == ours(SERVICES[service]["command"])
    if container != "launcher":  # it has no files; its ranks are in the workers' pods
        assert mounts(found) == composed(service) - {("/home/unidetector/.ray", False)}
    assert (
        found["image"]
        .rpartition("/")[2]
        .startswith(SERVICES[service]["build"]["dockerfile"].split("/")[0].replace("_", "-"))
    )
    extras = SERVICES[service]["build"].get("args", {}).get("EXTRAS")
    assert (
        found["image"].endswith(f"-{extras}:latest")
        if extras
        else "-" not in found["image"].rpartition("/")[2].replace("data-server", "")
    )


def test_far_workers_and_ranks_have_their_files_where_the_others_have_them() -> None:
    far = next(one for one in containers() if one["name"] == "ray-worker")
    assert mounts(far) == composed("ray-worker") - {("/home/unidetector/.ray", True)}
    rank = next(one for one in containers() if one["name"] == "worker")
    assert mounts(rank) == composed("trainer-mpi") - {("/home/unidetector/.cache/jittor", False)}


def test_every_volume_is_there_and_claims_are_among_the_claims() -> None:
    claims = {document["metadata"]["name"] for document in MANIFESTS["volumes.yaml"]}
    for pod in PODS:
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        used = {mount["name"] for one in containers(pod) for mount in one.get("volumeMounts", ())}
        assert used == volumes.keys()
        claimed = {volume["persistentVolumeClaim"]["claimName"] for name, volume in volumes.items() if name != "feed"}
        assert claimed <= claims
        if "feed" in volumes:
            assert volumes["feed"]["emptyDir"]["medium"] == "Memory"
            assert sum(mount["name"] == "feed" for one in containers(pod) for mount in one["volumeMounts"]) == 2


def test_a_trainer_waits_for_its_data_server_as_in_compose() -> None:
    probe = SERVICES["data_server"]["healthcheck"]["test"]
    sidecars = [one for pod in PODS for one in pod.get("initContainers", ())]
    assert len(sidecars) == 3
    for sidecar in sidecars:
        assert sidecar["restartPolicy"] == "Always"
        assert ["CMD", *sidecar["startupProbe"]["exec"]["command"]] == probe


def test_nobody_is_root_and_all_are_the_user_of_the_images() -> None:
    user = int(re.search(r"useradd --uid (\d+)", (ROOT / "trainer" / "Dockerfile").read_text())[1])  # type: ignore[index]
    for pod in PODS:
        context = pod["securityContext"]
        assert context["runAsNonRoot"] and {context["runAsUser"], context["fsGroup"]} == {user}
    for one in containers():
        assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert "command" not in one, "it would take tini's place"


def test_a_trainer_has_as_long_for_its_checkpoint_and_as_many_attempts_as_in_compose() -> None:
    service = SERVICES["trainer"]
    for file in ("job.yaml", "raycluster.yaml"):
        job = of("Job", file)["spec"]
        pod = job["template"]["spec"]
        assert f"{pod['terminationGracePeriodSeconds'] // 60}m" == service["stop_grace_period"]
        assert f"on-failure:{job['backoffLimit']}" == service["restart"] and pod["restartPolicy"] == "OnFailure"
        assert pod["hostname"] == service["hostname"]


def test_the_data_server_joins_the_ray_cluster_with_its_token_and_its_version() -> None:
    cluster, job = of("RayCluster", "raycluster.yaml"), of("Job", "raycluster.yaml")
    name = cluster["metadata"]["name"]
    (server,) = (one for one in containers(job["spec"]["template"]["spec"]) if one["name"] == "data-server")
    (join,) = (words for words in commands(server["args"]) if words[:2] == ["ray", "start"])
    assert f"--address={name}-head-svc:6379" in join and "--num-cpus=0" in join
    environment = {one["name"]: one for one in server["env"]}
    assert environment["RAY_AUTH_MODE"]["value"] == cluster["spec"]["authOptions"]["mode"] == "token"
    assert environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": name, "key": "auth_token"}
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (requirement,) = re.findall(r'^far = \["(ray[^"]+)"\]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert cluster["spec"]["rayVersion"] in Requirement(requirement).specifier
    assert SERVICES["ray-head"]["environment"]["RAY_AUTH_MODE"] == "token"


def test_a_ray_cluster_without_nodes_grows_as_far_as_its_data_server_may_ask() -> None:
    cluster, job = of("RayCluster", "raycluster.yaml")["spec"], of("Job", "raycluster.yaml")["spec"]
    (group,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] and group["minReplicas"] == group["replicas"] == 0
    (server,) = (one for one in containers(job["template"]["spec"]) if one["name"] == "data-server")
    options = parse_data_server(ours(server["args"])[-1][3:])
    assert options.elastic
    assert options.far_workers == group["maxReplicas"] * int(group["rayStartParams"]["num-cpus"])
    assert cluster["autoscalerOptions"]["securityContext"] == server["securityContext"]


def test_there_are_as_many_ranks_as_slots_and_the_keys_are_where_the_operator_puts_them() -> None:
    job = of("MPIJob", "mpijob.yaml")["spec"]
    launcher, worker = (
        job["mpiReplicaSpecs"][role]["template"]["spec"]["containers"][0]["args"] for role in ("Launcher", "Worker")
    )
    assert (
        int(launcher[launcher.index("-np") + 1]) == job["slotsPerWorker"] * job["mpiReplicaSpecs"]["Worker"]["replicas"]
    )
    port = worker[worker.index("-p") + 1]
    assert launcher[launcher.index("plm_ssh_args") + 1].startswith(f"-p {port} ")
    assert Path(worker[worker.index("-h") + 1]).parent == Path(job["sshAuthMountPath"])
