"""A small recipe in real processes, killed at five points and started again: the numbers of an unkilled run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_server.demo import scenes
from tests.browser import open_page
from tests.trainer.recipe.starts import CONFIGS, Start
from trainer.recipe.state import DONE
from trainer.weights import checkpoint

RECIPE = f"""
options = {{
    'train_dataloader.batch_size': 4,
    'default_hooks.logger.interval': 1,
}}
_training = {{'val_evaluator': None, 'test_evaluator': None, 'train_cfg.max_epochs': 2}}
_stage_1 = {{
    f'model.{{part}}.init_cfg': dict(type='Pretrained', checkpoint='{{stage_1}}/epoch_2.safetensors', prefix=part)
    for part in ('backbone', 'neck')
}}
_validation = {{'val_dataloader.dataset.proposal_file': '{{proposals}}/proposals'}}
steps = [
    dict(name='stage_1', task='train', config='{CONFIGS}/cln.py', options=_training),
    dict(name='proposals', task='propose', config='{CONFIGS}/cln.py', weights='stage_1'),
    dict(
        name='stage_2', task='train', config='{CONFIGS}/stage_2.py',
        options={{**_training, **_stage_1, **{{
            f'train_dataloader.dataset.datasets.{{i}}.proposal_file': '{{proposals}}/proposals' for i in range(2)}}}}),
    dict(
        name='calibration', task='calibrate', config='{CONFIGS}/detect_never_seen.py', weights='stage_2',
        options=_validation),
    dict(
        name='evaluation', task='evaluate', config='{CONFIGS}/detect_never_seen.py', weights='stage_2',
        arguments=['--chance'], title='small',
        options={{'model.roi_head.bbox_head.calibration': '{{calibration}}/calibration.json', **_validation}}),
]
headings = dict(val_never_seen='never seen')
"""
STEPS = ("stage_1", "proposals", "stage_2", "calibration", "evaluation")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "demo"
    scenes.generate(out, seed=1, train_images=18, val_images=8)
    return out


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Start:
    start = Start(tmp_path_factory.mktemp("unkilled"), data_root, RECIPE)
    assert start.end() == 0, start.text
    return start


@pytest.fixture
def begun() -> Iterator[list[Start]]:
    """What a test has started, ended with it however it ends."""
    starts: list[Start] = []
    yield starts
    for start in starts:
        if start.process.poll() is None:
            start.kill()


def numbers(start: Start) -> dict[str, Any]:
    """Everything that comes out of the steps, without the paths that stand beside it."""
    weights = [checkpoint.load(start.work_dir / name / "epoch_2.safetensors") for name in ("stage_1", "stage_2")]
    return {
        "weights": [{name: array.tobytes() for name, array in one.model.items()} for one in weights],
        "calibration": json.loads((start.work_dir / "calibration" / "calibration.json").read_text()),
        "results": json.loads((start.work_dir / "evaluation" / "results.json").read_text())["results"],
    }


def test_a_recipe_runs_its_steps_in_order_and_ends_with_one_table_and_a_report(unkilled: Start) -> None:
    assert list(unkilled.state()) == list(STEPS)
    assert all(entry["state"] == DONE for entry in unkilled.state().values())
    tail = unkilled.text.splitlines()[-6:]
    assert [part for part in ("small", "small, calibrated", "small, shuffled embeddings") if part in "\n".join(tail)]
    assert "AP50 never seen" in unkilled.text
    report = (unkilled.work_dir / "report.html").read_text()
    assert all(name in report for name in ("Training: stage_2", "Calibration: calibration", "AP50 never seen"))


def test_a_browser_opens_the_report_without_a_word(unkilled: Start, tmp_path: Path) -> None:
    console, picture = open_page(unkilled.work_dir / "report.html", tmp_path / "report.png")
    assert not console
    assert picture.std() > 10


def test_started_again_a_finished_recipe_does_nothing_and_says_the_same(unkilled: Start, data_root: Path) -> None:
    before = unkilled.state()
    again = Start(unkilled.work_dir.parent, data_root, RECIPE)
    assert again.end() == 0, again.text
    assert again.text.count("done before") == len(STEPS)
    assert again.state() == before
    assert [line for line in again.text.splitlines() if "small" in line and "calibrated" in line] == [
        line for line in unkilled.text.splitlines() if "small" in line and "calibrated" in line
    ]


@pytest.mark.parametrize(
    "points",
    [pytest.param({1}, marks=pytest.mark.long), pytest.param({1, 2, 3, 4, 5}, marks=pytest.mark.chaos)],
    ids=len,
)
def test_killed_at_some_points_and_started_again_it_ends_with_the_same_numbers(
    points: set[int], unkilled: Start, data_root: Path, tmp_path: Path, begun: list[Start]
) -> None:
    def begin() -> Start:
        begun.append(Start(tmp_path, data_root, RECIPE))
        return begun[-1]

    if 1 in points:  # in the middle of an epoch, behind a checkpoint
        start = begin()
        start.until(lambda: start.trained("stage_1") > unkilled.trained("stage_1") // 2 + 2, "second epoch")
        start.kill()

    if 2 in points:  # while proposals are written; the step's own process is killed, the recipe says so
        start = begin()
        start.until(lambda: start.is_running("proposals"), "proposals")
        assert start.text.count(": continues: ") == 1 and "resumed from" in start.text
        process = start.step_process()
        start.until(lambda: list((start.work_dir / "proposals" / "proposals").glob("*")), "a file of proposals")
        os.kill(process.pid, signal.SIGKILL)
        assert start.end() != 0
        assert "step 2 of 5, proposals ended with code" in start.text.splitlines()[-1]

    if 3 in points:  # before the first checkpoint of a training
        start = begin()
        start.until(lambda: start.trained("stage_2") > 2, "a step of stage 2")
        start.kill()

    if 4 in points:  # a signal to the recipe while it calibrates
        start = begin()
        start.until(lambda: "] calibrating " in start.text, "calibration")
        os.kill(start.process.pid, signal.SIGTERM)
        assert start.end() == 0
        assert "continues from here" in start.text.splitlines()[-1]

    if 5 in points:  # while it evaluates
        start = begin()
        start.until(lambda: "] evaluating " in start.text, "evaluation")
        start.kill()
        assert start.is_running("evaluation")

    start = begin()
    assert start.end() == 0, start.text
    assert start.text.count("done before") == max(points) - 1
    assert numbers(start) == numbers(unkilled)


def test_a_changed_setting_redoes_the_steps_that_it_goes_into_and_no_other_even_if_it_is_killed_there(
    unkilled: Start, data_root: Path, tmp_path: Path, begun: list[Start]
) -> None:
    shutil.copytree(unkilled.work_dir, tmp_path / "work")
    changed = RECIPE.replace("arguments=['--chance']", "arguments=[]")
    killed = Start(tmp_path, data_root, changed)
    begun.append(killed)
    killed.until(lambda: "] evaluating " in killed.text, "evaluation")
    killed.kill()
    assert killed.text.count("done before") == 4 and "step 5 of 5, evaluation: starts" in killed.text
    start = Start(tmp_path, data_root, changed)
    assert start.end() == 0, start.text
    assert start.text.count("done before") == 4 and "step 5 of 5, evaluation: continues" in start.text
    assert "shuffled" not in start.text.splitlines()[-2] and "calibrated" in start.text.splitlines()[-2]
    found, expected = numbers(start), numbers(unkilled)
    expected["results"] = {name: result for name, result in expected["results"].items() if "shuffled" not in name}
    assert found == expected
