"""The long form of what far workers do: ``make far``. Kills of everybody on a node and between it and the server at any
moment; samples that kill far workers; streams that begin anywhere."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from data_server.serving.demand import WINDOW
from tests.cluster import Cluster, digests, wait_for
from tests.data_server.far.growing import Growing
from tests.data_server.far.raylet import Raylet, command_of
from tests.photos import TRAIN_PIPELINE, config_of

pytest.importorskip("ray", reason="Ray is not installed: pip install 'unidetector-jittor[far]'")
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("FAR_KILLS", "40"))
SEED = 5
FAR_WORKERS = 2
IMPORTS = {"imports": ["tests.data_server.transforms"]}
LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
JOIN_SECONDS = 240
LEFT_SECONDS = 12
ADMITTED = "makes the same bytes as this host"


@pytest.fixture(scope="module")
def node() -> Iterator[Raylet]:
    raylet = Raylet(FAR_WORKERS, {}, {})
    yield raylet
    raylet.stop()


@pytest.fixture
def growing() -> Iterator[Growing]:
    cluster = Growing(FAR_WORKERS, 1)
    yield cluster
    cluster.stop()


@pytest.fixture
def far(node: Raylet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in node.token.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(workers=1, options=("--ray", node.address, "--far-workers", str(FAR_WORKERS)))
    yield cluster
    cluster.stop()
    wait_for(lambda: not node.agents(), LEFT_SECONDS)


def of(photos: Path, one: dict[str, Any], **feed: Any) -> dict[str, Any]:
    return config_of(photos, pipeline=(LOAD, BOXES, RESIZE, one, FLIP, PACK), custom_imports=IMPORTS, feed=feed)


def admitted(cluster: Cluster, times: int) -> None:
    wait_for(lambda: cluster.log.count(ADMITTED) >= times, JOIN_SECONDS)


def far_workers(node: Raylet) -> list[psutil.Process]:
    return [p for agent in node.agents() for root in agent.children() for n in root.children() for p in n.children()]


def launcher(cluster: Cluster) -> list[psutil.Process]:
    return [p for p in psutil.Process(cluster.server.pid).children() if "far.launcher" in command_of(p)]


def actors(node: Raylet) -> list[psutil.Process]:
    return [parent for agent in node.agents() if (parent := agent.parent()) is not None]


def test_kills_at_random_change_no_byte(cluster: Cluster, far: Cluster, node: Raylet, photos: Path) -> None:
    config = of(photos, {"type": "Slow"})
    chance = random.Random(SEED)
    reads = [chance.randrange(1, 12) for _ in range(KILLS)]
    expected = digests(cluster.open(config), sum(reads))
    stream = far.open(config)
    admitted(far, 1)
    victims = {
        "far worker": lambda: far_workers(node),
        "proxy": lambda: far.workers(),
        "agent": node.agents,
        "actor": lambda: actors(node),
        "launcher": lambda: launcher(far),
        "raylet": node.raylets,
    }
    weights = [8, 4, 2, 2, 2, 1]
    made: list[str] = []
    for number, count in enumerate(reads):
        (name,) = chance.choices(list(victims), weights)
        time.sleep(chance.random())
        found = victims[name]()
        print(f"{number}: {name} of {len(found)}, {far.log.count(ADMITTED)} admissions")
        for victim in found[:1]:
            victim.kill()
        made += digests(stream, count)
        if name == "raylet":
            node.start_again()
        if name in ("agent", "actor", "launcher", "raylet") and chance.random() < 0.5:
            admitted(far, far.log.count(ADMITTED) + 1)
    assert made == expected


@pytest.mark.parametrize("deadly", [{"type": "Deadly"}, {"type": "Deadly", "code": 3}])
def test_a_sample_that_kills_far_workers_is_found_and_replaced_as_it_is_here(
    cluster: Cluster, far: Cluster, photos: Path, deadly: dict[str, Any]
) -> None:
    config = of(photos, deadly, on_bad_sample="replace")
    expected = digests(cluster.open(config), 30)
    stream = far.open(config)
    admitted(far, 1)
    assert digests(stream, 30) == expected
    assert {one.image for one in far.quarantined} == {one.image for one in cluster.quarantined} != set()


def test_a_cluster_grows_while_the_trainer_waits_and_shrinks_when_it_does_not(
    cluster: Cluster, growing: Growing, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    config = of(photos, {"type": "Laborious"})
    for name, value in growing.token.items():
        monkeypatch.setenv(name, value)
    options = ("--ray", growing.address, "--elastic", "--far-workers", str(FAR_WORKERS))
    elastic = Cluster(workers=1, options=options)
    stream = elastic.open(config)
    assert f"{FAR_WORKERS} proxies of far workers" in stream.welcome.plan
    assert stream.welcome.slots == 1 + 2 + 1 + FAR_WORKERS  # workers, credits, one to spare, and those that may come
    assert len(growing.raylets()) == 1
    made: list[str] = []

    def read_until(text: str, pause: float) -> None:
        def read() -> bool:
            made.extend(digests(stream, 1))
            time.sleep(pause)
            return text in elastic.log

        wait_for(read, JOIN_SECONDS)

    read_until("batches were waited for; 1 far workers are wanted now, not 0", 0)
    read_until(ADMITTED, 0)
    made += digests(stream, 4 * WINDOW)
    assert len(growing.raylets()) == 2
    read_until("0 far workers are wanted now, not", 0.5)
    wait_for(lambda: "has left" in elastic.log and len(growing.raylets()) == 1, LEFT_SECONDS)
    made += digests(stream, WINDOW)
    elastic.close_streams()
    wait_for(lambda: "of its batches were made on other hosts" in elastic.log, LEFT_SECONDS)
    assert "; 0 of its batches were made on other hosts" not in elastic.log
    elastic.stop()
    assert made == digests(cluster.open(config), len(made))


def test_a_stream_that_begins_anywhere_has_the_batches_of_the_whole_one(
    cluster: Cluster, far: Cluster, photos: Path
) -> None:
    config = of(photos, {"type": "Slow"})
    whole = digests(cluster.open(config), 24)
    for number, step in enumerate(range(20), 1):
        stream = far.open(config, epoch=step // 6, step=step % 6)
        assert stream.welcome.steps_per_epoch == 6
        admitted(far, number)
        assert digests(stream, 4) == whole[step : step + 4]
        far.close_streams()
