"""A stream's HELLO makes sense, or is refused with what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_server.serving.stream import MAX_CURSOR, check
from shared.errors import UserError
from shared.feed_keys import with_defaults
from shared.messages import Hello
from tests.cluster import Cluster, wait_for
from tests.photos import config_of

CONFIG = config_of(Path("set"))
LAST = MAX_CURSOR - 1
HELLO = Hello("train", CONFIG, seed=0, rank=1, world_size=2, epoch=LAST, step=LAST, epochs=LAST, credits=1)


def test_the_log_says_how_large_a_stream_is(cluster: Cluster, photos: Path) -> None:
    plan = cluster.open(config_of(photos)).welcome.plan
    wait_for(lambda: f": 11 images, 6 steps per epoch, memory plan {plan}, beside " in cluster.log, 2)


def test_a_hello_at_all_its_bounds_makes_sense() -> None:
    check(HELLO)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"credits": 0}, "credits=0, .*expected at least one credit"),
        ({"rank": 2}, "rank=2, world_size=2: expected at least one credit and a rank below world_size"),
        ({"rank": 0, "world_size": 0}, "world_size=0"),
        ({"epoch": MAX_CURSOR}, rf"epoch={MAX_CURSOR}, .*expected numbers below {MAX_CURSOR}"),
        ({"step": MAX_CURSOR}, rf"step={MAX_CURSOR}, .*expected numbers below {MAX_CURSOR}"),
        ({"epochs": MAX_CURSOR}, rf"epochs={MAX_CURSOR}: expected numbers below {MAX_CURSOR}"),
    ],
)
def test_one_step_beyond_a_bound_it_does_not(change: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check(replace(HELLO, **change))


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("split", None),
        ("dataset", []),
        ("custom_imports", []),
        ("batch_size", 0),
        ("batch_size", True),
        ("size_divisor", 0),
        ("shuffle", 1),
        ("group_by_aspect_ratio", None),
        ("training", "yes"),
        ("source_ratio", [1, "2"]),
        ("source_ratio", [-1]),
        ("feed", None),
        ("feed", {"credits": 1}),
        ("feed", {**with_defaults({}), "credits": 0}),
    ],
)
def test_a_data_part_that_no_trainer_makes_is_refused_by_its_key(key: str, wrong: object) -> None:
    with pytest.raises(UserError, match=f"data part of the config: '{key}'|feed.credits"):
        check(replace(HELLO, config={**CONFIG, key: wrong}))
