"""Streams of every kind have one digest: with one worker undisturbed, with two that die all the time, with four, and
begun in the middle, before a switch of the pipeline and after it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared.samplers import SAMPLERS
from tests.chaos.kinds import DATALOADERS, KINDS, SWITCHES, TRANSFORMS, WRAPPERS, part, with_polygons
from tests.cluster import Cluster, digests

STEPS = 16
RESUMED_AT = (2, 6, 10)  # where there is a switch: before it, with it and after it
DEADLY = "worker.sample:6"  # each worker kills itself in the midst of its third batch
USUAL = 2  # of each group are drawn; ``make chaos`` has them all


def cells() -> list:
    """All kinds; but for those that are drawn only with ``-m chaos``."""
    draw = random.Random(16)
    groups = (WRAPPERS, DATALOADERS, TRANSFORMS, SWITCHES)
    usual = {name for group in groups for name in draw.sample(list(group), USUAL)}
    missing = pytest.mark.skipif(find_spec("albumentations") is None, reason="albumentations is not installed")
    return [
        pytest.param(name, marks=[pytest.mark.chaos] * (name not in usual) + [missing] * (name == "Albu"))
        for name in KINDS
    ]


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Cluster]]:
    """Data servers by their workers."""
    found = {"one": Cluster(workers=1), "four": Cluster(workers=4)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULT", DEADLY)
        found["two, deadly"] = Cluster(workers=2)
    yield found
    for cluster in found.values():
        cluster.stop()


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_polygons(photos, tmp_path_factory.mktemp("polygons"))


@pytest.mark.parametrize("name", cells())
def test_one_digest_whatever_the_workers_do_and_wherever_it_begins(name, clusters, folder):
    config = part(KINDS[name], folder)
    client = clusters["one"].open(config)
    batches, rolled = [], [""]
    for _ in range(STEPS):
        batches += digests(client, 1)
        rolled.append(client.digest)
    steps_per_epoch = client.welcome.steps_per_epoch
    clusters["one"].close_streams()
    assert len(set(batches)) == STEPS
    assert name not in SWITCHES or steps_per_epoch == RESUMED_AT[1]

    begins = zip(("two, deadly", "four", "four", "two, deadly", "four"), (0, 0, *RESUMED_AT), strict=True)
    for workers, begun in begins:
        cluster = clusters[workers]
        cluster.start_log()
        epoch, step = divmod(begun, steps_per_epoch)
        client = cluster.open(config, epoch=epoch, step=step, digest=rolled[begun])
        assert digests(client, STEPS - begun) == batches[begun:], (workers, begun)
        assert client.digest == rolled[-1]
        assert (" was killed by SIGKILL; the batch of step " in cluster.log) == ("deadly" in workers)
        cluster.close_streams()


def test_every_sampler_is_among_them():
    kinds = [kind["train_dataloader"] for kind in KINDS.values()]
    assert {dataloader["sampler"]["type"] for dataloader in kinds if "sampler" in dataloader} == set(SAMPLERS)
