"""What a worker will need is measured before the plan is made."""

import json
import re
import subprocess
import sys

import pytest

from shared.errors import UserError
from tests.cluster import ROOT
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


NEED = """
import json, sys
from data_server.datasets.lazy_imports import import_mmdetection; import_mmdetection()
from data_server.workers import rehearsal
from data_server.datasets.parts import Datasets
from data_server.datasets.bounds import gather
from shared.data_part import from_plain

config = from_plain(json.load(sys.stdin))
datasets = Datasets(config)
for size in ((96, 128), (4000, 4000)):
    config["feed"]["max_image_size"] = size
    print(rehearsal.worker_bytes(datasets, config, gather(datasets, config)), flush=True)
"""


def test_a_slot_is_not_counted_among_what_a_worker_holds_for_itself(photos):
    """A large one takes 96 MB of shared memory."""
    command = [sys.executable, "-W", "ignore", "-c", NEED]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(config_of(photos)), capture_output=True, text=True)
    small, large = map(int, done.stdout.split()[-2:])
    assert 0 < small < 40 << 20 and abs(large - small) < 20 << 20


TIMED = """
import json, sys
from data_server.datasets.lazy_imports import import_mmdetection; import_mmdetection()
from data_server.workers import rehearsal, trial
from data_server.datasets.parts import Datasets
from data_server.datasets.bounds import gather
from shared.data_part import from_plain

config = from_plain(json.load(sys.stdin))
rehearsal._HANG_SECONDS = config.pop("hang")
trial._CPU_SECONDS = config.pop("cpu")
if mib := config.pop("free"):
    trial.available = lambda: mib << 20
make = rehearsal.make_batch
rehearsal.make_batch = lambda *order: print("a batch", flush=True) or make(*order)
datasets = Datasets(config)
print(rehearsal.worker_bytes(datasets, config, gather(datasets, config)) == rehearsal.GUESS)
"""


def timed(config, hang=600, cpu=600, free=None):
    """How many batches a rehearsal makes, and whether it ends with a guess; on a machine that has `free` MiB left."""
    command = [sys.executable, "-W", "ignore", "-c", TIMED]
    text = json.dumps({**config, "hang": hang, "cpu": cpu, "free": free})
    said = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    return said.count("a batch"), said[-1]


@pytest.mark.parametrize("batch_size", [2, pytest.param(8, marks=pytest.mark.long)])
def test_how_much_is_rehearsed_does_not_depend_on_how_long_it_takes(photos, batch_size):
    slow = (*BEFORE, {"type": "Slow"}, PACK)
    quick, _ = timed(config_of(photos, batch_size=batch_size))
    assert timed(config_of(photos, pipeline=slow, custom_imports=IMPORTS, batch_size=batch_size)) == (quick, "False")
    assert quick * batch_size == 40


@pytest.mark.parametrize(("kind", "limits"), [("Stuck", {"hang": 3}), ("Busy", {"cpu": 1})])
def test_a_rehearsal_that_comes_to_no_end_leaves_the_plan_to_a_guess(photos, kind, limits):
    endless = (*BEFORE, {"type": kind, "images": tuple(range(100, 112))}, PACK)
    assert timed(config_of(photos, pipeline=endless, custom_imports=IMPORTS), **limits) == (1, "True")


def test_a_rehearsal_never_takes_more_than_half_of_the_memory_that_is_free(photos):
    hoarding = (*BEFORE, {"type": "Hoarding", "mib": 60}, PACK)
    assert timed(config_of(photos), free=200)[1] == "False"
    assert timed(config_of(photos, pipeline=hoarding, custom_imports=IMPORTS), free=200) == (1, "True")


ASKED = """
import json, sys
from data_server.datasets.lazy_imports import import_mmdetection; import_mmdetection()
from data_server.workers import rehearsal
from data_server.datasets.parts import Datasets
from data_server.datasets.bounds import gather
from shared.data_part import from_plain

rehearsal.create_memory = lambda *slots: print("asked for", *slots, flush=True)
config = from_plain(json.load(sys.stdin))
datasets = Datasets(config)
print(rehearsal.worker_bytes(datasets, config, gather(datasets, config)) == rehearsal.GUESS)
"""


def rehearse(config):
    """What a rehearsal that is given no memory asks for, then whether it ends with a guess."""
    command = [sys.executable, "-W", "ignore", "-c", ASKED]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(config), capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line in ("True", "False") or line.startswith("asked for")]


def test_a_batch_larger_than_the_machine_is_refused_before_memory_is_asked_for(cluster, photos):
    (slot, guessed) = rehearse(config_of(photos))
    assert slot.startswith("asked for 1 ") and guessed == "True"
    config = config_of(photos, feed={"max_boxes": 1 << 40})
    assert rehearse(config) == ["True"]
    with pytest.raises(UserError, match=r"too little memory: the plan is 5 slots x .*feed\.max_boxes"):
        cluster.open(config)
