"""Workers on a node of a real Ray cluster: the same bytes as two workers here, whoever dies; what would make others is
refused by name."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from data_server.handover.far_link import PING_SECONDS
from shared.client import StreamClient
from tests.cluster import PATIENCE, Cluster, digests, lives, wait_for
from tests.data_server.far.raylet import Raylet, can_mount, free_port
from tests.photos import TRAIN_PIPELINE, config_of, draw

pytest.importorskip("ray", reason="Ray is not installed: pip install 'unidetector-jittor[far]'")

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
CUBIC = (LOAD, BOXES, {**RESIZE, "interpolation": "bicubic"}, FLIP, PACK)
SLOW = (LOAD, BOXES, RESIZE, {"type": "Slow"}, FLIP, PACK)
IMPORTS = {"imports": ["tests.data_server.transforms"]}
ADMITTED = "makes the same bytes as this host"
BATCHES = 15  # at a time
JOIN_SECONDS = 8  # the node imports torch and MMDetection; times the patience of the tests
LEFT_SECONDS = 12


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets by name; on the node, others of the same path have another image, or other annotations, or will."""
    folder = tmp_path_factory.mktemp("far")
    return {name: draw(folder / name) for name in ("same", "image", "boxes", "later")}


@pytest.fixture(scope="module")
def node(sets: dict[str, Path]) -> Iterator[Raylet]:
    """A node that resizes without IPP, and so makes other bytes where a pipeline is cubic."""
    instead = {}
    if can_mount():
        instead = {sets[name]: sets[name].with_name(f"{name}_there") for name in ("image", "boxes", "later")}
        for here, there in instead.items():
            shutil.copytree(here, there)
        image = sorted((instead[sets["image"]] / "images").iterdir())[3]
        pixels = cv2.imread(str(image))
        pixels[0, 0] ^= 64
        cv2.imwrite(str(image), pixels)
        annotations = instead[sets["boxes"]] / "all.json"
        content = json.loads(annotations.read_text())
        content["annotations"][0]["bbox"][2] -= 1
        annotations.write_text(json.dumps(content))
    raylet = Raylet(1, instead, {"OPENCV_IPP": "disabled"})
    yield raylet
    raylet.stop()


class FarCluster(Cluster):
    """A data server with one worker here and one on `node`."""

    def __init__(self, node: Raylet) -> None:
        self._port = free_port()
        super().__init__(
            workers=1, options=("--ray", node.address, "--far-workers", "1", "--prometheus", str(self._port))
        )

    def made_there(self) -> float:
        """How many batches of its streams were made on the node."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=JOIN_SECONDS * PATIENCE) as page:
            text = page.read().decode()
        return sum(float(value) for value in re.findall(r"^data_server_far_batches_total.* (\S+)$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def far(node: Raylet) -> Iterator[FarCluster]:
    """When it ends, nothing of it is left on the node."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in node.token.items():
            patch.setenv(name, value)
        cluster = FarCluster(node)
    yield cluster
    cluster.stop()
    wait_for(lambda: not node.agents(), LEFT_SECONDS)


def said(cluster: Cluster, text: str, times: int = 1) -> None:
    wait_for(lambda: cluster.log.count(text) >= times, JOIN_SECONDS)


def admitted(far: Cluster, config: dict[str, Any]) -> StreamClient:
    """A stream on whose node a worker is ready."""
    before = far.log.count(ADMITTED)
    stream = far.open(config)
    said(far, ADMITTED, before + 1)
    return stream


def of(folder: Path, pipeline: tuple[dict, ...]) -> dict[str, Any]:
    return config_of(folder, pipeline=pipeline, custom_imports=IMPORTS)


def proxy_of(cluster: Cluster) -> psutil.Process:
    """The worker that is connected to an agent."""

    def found() -> list[psutil.Process]:
        return [p for p in cluster.workers() if any(c.status == "ESTABLISHED" for c in p.net_connections("tcp"))]

    return wait_for(found, LEFT_SECONDS)[0]


@pytest.mark.parametrize(
    ("name", "pipeline", "reason"),
    [
        pytest.param(
            *("same", CUBIC, "the same samples make other bytes there (all versions are the same"),
            marks=pytest.mark.long,
        ),
        ("image", SLOW, "03.jpg' has other contents there (1 of 11 files"),
        ("boxes", SLOW, "its annotations are others (fingerprint"),
    ],
)
def test_a_node_that_would_make_other_bytes_is_refused_by_name_and_the_stream_goes_on(
    cluster: Cluster,
    far: Cluster,
    sets: dict[str, Path],
    name: str,
    pipeline: tuple[dict, ...],
    reason: str,
) -> None:
    if name != "same" and not can_mount():
        pytest.skip("needs the right to a mount namespace")
    config = of(sets[name], pipeline)
    stream = far.open(config)
    said(far, reason)
    refusal = next(line for line in far.log.splitlines() if reason in line)
    assert f"node {os.uname().nodename} (" in refusal and "is not used for this stream" in refusal
    assert digests(stream, BATCHES) == digests(cluster.open(config), BATCHES)
    assert len(far.workers()) == 1
    far.close_streams()


@pytest.mark.parametrize("policy", ["stop", "replace"])
def test_a_node_whose_image_is_damaged_later_is_refused_and_the_batch_is_made_here(
    cluster: Cluster, far: Cluster, sets: dict[str, Path], policy: str
) -> None:
    if not can_mount():
        pytest.skip("needs the right to a mount namespace")
    there = sets["later"].with_name("later_there") / "images"
    config = config_of(sets["later"], pipeline=SLOW, custom_imports=IMPORTS, feed={"on_bad_sample": policy})
    expected = digests(cluster.open(config), 3 * BATCHES)
    stream = admitted(far, config)
    for image in there.iterdir():
        image.write_bytes(b"")
    try:
        assert digests(stream, 3 * BATCHES) == expected
        said(far, "can be made here, and there not", 1 if policy == "stop" else 2)
    finally:
        for image in there.iterdir():
            shutil.copy(sets["later"] / "images" / image.name, image)
        far.close_streams()


def test_batches_are_the_same_wherever_they_are_made_and_whoever_dies(
    cluster: Cluster, far: FarCluster, node: Raylet, sets: dict[str, Path]
) -> None:
    config = of(sets["same"], SLOW)
    stream = admitted(far, config)
    assert "1 proxies of far workers" in stream.welcome.plan
    made = digests(stream, BATCHES)

    idle = proxy_of(far)
    time.sleep(3 * PING_SECONDS)  # longer than it waits at a time, with all slots full
    assert lives(idle)

    (agent,) = node.agents()
    (far_worker,) = [worker for nursery in agent.children()[0].children() for worker in nursery.children()]
    far_worker.kill()
    said(far, "was killed by SIGKILL")
    before = far.made_there()

    def another_works() -> bool:  # a proxy that only joins waits for as long as its agent is silent
        made.extend(digests(stream, 1))
        return far.made_there() > before

    wait_for(another_works, JOIN_SECONDS)
    proxy = proxy_of(far)
    agent.suspend()
    stopped = time.monotonic()
    made += digests(stream, BATCHES)
    wait_for(lambda: not proxy.is_running() or proxy.status() == psutil.STATUS_ZOMBIE, 6)
    assert PATIENCE > 1 or 2 < time.monotonic() - stopped < 6
    said(far, "does not answer any more")
    agent.resume()

    agent.kill()
    made += digests(stream, BATCHES)
    said(far, "has left")
    said(far, " to receive from another: far workers ")
    closed = far.log.count("closed")
    far.close_streams()
    said(far, "closed", closed + 1)
    *_, made_there, _ = re.split(r"(\d+) of its batches were made on other hosts", far.log)
    assert int(made_there) > BATCHES // 4
    assert made == digests(cluster.open(config), len(made))
