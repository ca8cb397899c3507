"""What a worker will need is measured before the plan is made."""

import re

from tests.photos import TRAIN_PIPELINE, config_of

IMPORTS = {"imports": ["tests.data_server.transforms"]}
*BEFORE, PACK = TRAIN_PIPELINE


def planned_mib(client):
    """What the plan has for one worker."""
    return float(re.search(r"2 workers x ([\d.]+) MiB", client.welcome.plan)[1])


def test_a_pipeline_that_takes_more_memory_has_a_larger_plan(cluster, photos):
    plain = planned_mib(cluster.open(config_of(photos)))
    pipeline = (*BEFORE, {"type": "Hoarding", "mib": 20}, PACK)
    greedy = planned_mib(cluster.open(config_of(photos, pipeline=pipeline, custom_imports=IMPORTS)))
    # Two images in a batch, made twice over at least.
    assert 0 < plain < 40
    assert greedy - plain > 75


def test_a_batch_that_kills_its_maker_leaves_the_plan_to_a_guess(cluster, photos):
    deadly = {"type": "Deadly", "images": tuple(range(100, 112))}
    client = cluster.open(config_of(photos, pipeline=(*BEFORE, deadly, PACK), custom_imports=IMPORTS))
    assert planned_mib(client) == 64
