"""What ``docs/deploy/kubernetes`` and docker-compose.yml consist of: pods, containers, commands, mounts.

Also the schemas of the two custom resources, as far as their keys are used here: pods apart, nothing else may be there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import ROOT

MANIFESTS = {
    path.name: list(yaml.safe_load_all(path.read_text()))
    for path in sorted((ROOT / "docs" / "deploy" / "kubernetes").glob("*.yaml"))
}
EVERYTHING = [document for documents in MANIFESTS.values() for document in documents]
COMPOSE = yaml.safe_load(
    re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text()).replace("$$", "$")
)
SERVICES = COMPOSE["services"]
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_CLUSTER = {
    "rayVersion": {"type": "string"},
    "authOptions": {"properties": {"mode": {"enum": ["disabled", "token"]}}, "additionalProperties": False},
    "enableInTreeAutoscaling": {"type": "boolean"},
    "autoscalerOptions": {
        "properties": {
            "idleTimeoutSeconds": {"type": "integer"},
            "version": {"enum": ["v1", "v2"]},
            **{name: {"type": "object"} for name in ("resources", "securityContext")},
            "env": {"type": "array"},
        },
        "additionalProperties": False,
    },
    "headGroupSpec": {
        "required": ["template"],
        "properties": {"rayStartParams": TEXTS, "template": {"type": "object"}},
        "additionalProperties": False,
    },
    "workerGroupSpecs": {
        "items": {
            "required": ["groupName", "maxReplicas", "minReplicas", "template"],
            "properties": {
                "groupName": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
                **{name: {"type": "integer", "minimum": 0} for name in ("replicas", "minReplicas", "maxReplicas")},
                "rayStartParams": TEXTS,
                "template": {"type": "object"},
            },
            "additionalProperties": False,
        }
    },
}
REPLICA = {
    "required": ["template"],
    "properties": {
        "replicas": {"type": "integer", "minimum": 1},
        "restartPolicy": {"enum": ["Never", "OnFailure"]},
        "template": {"type": "object"},
    },
    "additionalProperties": False,
}
MPI_JOB = {
    "slotsPerWorker": {"type": "integer"},
    "sshAuthMountPath": {"type": "string"},
    "mpiImplementation": {"enum": ["OpenMPI", "Intel", "MPICH"]},
    "runPolicy": {
        "properties": {
            "cleanPodPolicy": {"enum": ["None", "Running", "All"]},
            "backoffLimit": {"type": "integer", "minimum": 0},
        },
        "additionalProperties": False,
    },
    "mpiReplicaSpecs": {
        "required": ["Launcher"],
        "properties": {
            "Launcher": {**REPLICA, "properties": {**REPLICA["properties"], "replicas": {"const": 1}}},  # type: ignore[dict-item]
            "Worker": REPLICA,
        },
        "additionalProperties": False,
    },
}
CUSTOM = {"ray.io/v1 RayCluster": RAY_CLUSTER, "kubeflow.org/v2beta1 MPIJob": MPI_JOB}


def of(kind: str, file: str) -> dict[str, Any]:
    (found,) = (document for document in MANIFESTS[file] if document["kind"] == kind)
    return found


def templates(node: Any) -> Iterator[dict[str, Any]]:
    """The templates of pods anywhere in a manifest."""
    if isinstance(node, dict):
        if "template" in node:
            yield node["template"]
        for value in node.values():
            yield from templates(value)
    elif isinstance(node, list):
        for value in node:
            yield from templates(value)


PODS = [template["spec"] for template in templates(EVERYTHING)]


def containers(*pods: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for pod in pods or PODS for one in (*pod.get("initContainers", ()), *pod["containers"])]


def commands(words: list[str] | str) -> list[list[str]]:
    """What is run, one after the other."""
    words = shlex.split(words) if isinstance(words, str) else words
    if words[:2] != ["sh", "-c"]:
        return [words]
    return [shlex.split(part.strip().removeprefix("exec ").split(" >")[0]) for part in words[2].split("&&")]


ALL_COMMANDS = [
    words
    for given in (*(one["args"] for one in containers() if "args" in one), *(s["command"] for s in SERVICES.values()))
    for words in commands(given)
    if given[:2] != ["sh", "-c"] or "TOKEN" not in given[2]  # the page's, which tests/docker has
]


def first_python(words: list[str]) -> int:
    return next(place for place, word in enumerate(words) if Path(word).name == "python")


def ours(given: list[str] | str) -> list[list[str]]:
    """Its commands from ``python`` on, wherever that is, with the number of workers left out."""
    return [
        [re.sub(r"^\S*/python", "python", word) for word in words[first_python(words) :]]
        for words in commands(given)
        if any(Path(word).name == "python" for word in words)
    ]


def pods_of(file: str) -> list[dict[str, Any]]:
    return [template["spec"] for template in templates(MANIFESTS[file])]


def mounts(container: dict[str, Any]) -> set[tuple[str, bool]]:
    """Where, and whether nothing can be written there."""
    return {(mount["mountPath"], mount.get("readOnly", False)) for mount in container.get("volumeMounts", ())}


def composed(service: str) -> set[tuple[str, bool]]:
    parts = [volume.split(":") for volume in SERVICES[service]["volumes"]]
    return {(part[1], part[2:] == ["ro"]) for part in parts}
