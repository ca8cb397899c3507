"""What a recipe says of its steps: how many, which of them are done, how long the others take."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from trainer.recipe.progress import overview, remaining
from trainer.recipe.steps import Recipe, Step


def step(name: str, minutes: float | None) -> Step:
    return Step(name, "train", Config(), None, (), (), name, minutes)


def recipe(*minutes: float | None) -> Recipe:
    steps = [step(f"s{number}", one) for number, one in enumerate(minutes, 1)]
    return Recipe(Path("r.py"), "Mine", steps, {}, {}, "", "", Path("w"))


def test_the_overview_adds_up_what_is_left_to_do() -> None:
    head, *lines = overview(recipe(2, 0.4, 3), {"s1"})
    assert head.startswith("Mine: 2 of 3 steps to do, about 3 min on two quiet cores;")
    assert [line.strip() for line in lines] == [
        "1 s1: train, done",
        "2 s2: train, less than a minute",
        "3 s3: train, about 3 min",
    ]


def test_no_time_is_made_up_where_a_step_gives_none() -> None:
    head, *lines = overview(recipe(2, None), ())
    assert head == "Mine: 2 of 2 steps to do"
    assert [line.strip() for line in lines] == ["1 s1: train, about 2 min", "2 s2: train"]
    assert remaining(recipe(2, None).steps) == " (about 2 min)"
    assert remaining(recipe(None, 2).steps) == ""


def test_a_step_tells_its_own_time_and_what_is_left_and_the_last_one_only_its_own() -> None:
    assert remaining(recipe(2, 0.4, 3).steps) == " (about 2 min; about 5 min left)"
    assert remaining(recipe(0.4).steps) == " (less than a minute)"


def test_with_nothing_to_do_no_time_is_said() -> None:
    assert overview(recipe(2), {"s1"})[0] == "Mine: 0 of 1 steps to do"
