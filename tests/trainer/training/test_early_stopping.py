"""When a run ends early, against MMEngine's EarlyStoppingHook, which needs torch and runs in its own process."""

import importlib.util
import json
import subprocess
import sys

import pytest
from mmengine.config import Config

from shared.errors import UserError
from trainer.training.early_stopping import EarlyStopping

NAN, INFINITE = float("nan"), float("inf")
MONITOR = "coco/bbox_mAP"
HOOKS = {
    "defaults": {},
    "a small step": {"min_delta": 0.01, "patience": 2},
    "no step": {"min_delta": 0, "patience": 1},
    "less is better": {"rule": "less", "min_delta": 0.02, "patience": 2},
    "a threshold": {"stopping_threshold": 0.35},
    "a threshold from above": {"rule": "less", "stopping_threshold": 0.15, "patience": 9},
    "numbers that are not finite": {"check_finite": False, "patience": 3, "min_delta": 0.01},
}
RUNS = [
    [0.1, 0.2, 0.3, 0.3, 0.3, 0.31, 0.3, 0.2, 0.25, 0.3, 0.31],
    [0.3, 0.25, 0.2, 0.22, 0.24, 0.19, 0.1, 0.1, 0.1, 0.1, 0.1],
    [0.2, 0.4, 0.5, 0.1, 0.1, 0.6, 0.7, 0.1, 0.1, 0.1, 0.1],
    [0.1, NAN, 0.1, 0.2, 0.1, INFINITE, 0.1, -INFINITE, 0.1, 0.1, 0.1],
]

MMENGINE = """
import json, sys, types
from mmengine.hooks import EarlyStoppingHook
hooks, runs, monitor = json.load(sys.stdin)
result = {}
for name, settings in hooks.items():
    for number, run in enumerate(runs):
        loop = types.SimpleNamespace(stop_training=False)
        runner = types.SimpleNamespace(train_loop=loop, logger=types.SimpleNamespace(info=lambda text: None))
        hook, rows = EarlyStoppingHook(monitor=monitor, **settings), []
        hook.before_run(runner)
        for score in run:
            hook.after_val_epoch(runner, {monitor: score})
            rows.append([loop.stop_training, hook.best_score, hook.wait_count])
        result[f"{name} {number}"] = rows
print("RESULT" + json.dumps(result))
"""


def of(**hook: object) -> EarlyStopping:
    return EarlyStopping(Config({"custom_hooks": [{"type": "EarlyStoppingHook", "monitor": MONITOR, **hook}]}))


@pytest.fixture(scope="module")
def mmengine() -> dict:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: mmengine's hooks cannot be run")
    question = json.dumps([HOOKS, RUNS, MONITOR])
    done = subprocess.run([sys.executable, "-c", MMENGINE], input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.mark.slow
@pytest.mark.parametrize("cut", [None, 1, 4])
@pytest.mark.parametrize("number", range(len(RUNS)))
@pytest.mark.parametrize("name", HOOKS)
def test_every_evaluation_decides_as_mmengine(name: str, number: int, cut: int | None, mmengine: dict) -> None:
    stopping, rows = of(**HOOKS[name]), []
    for i, score in enumerate(RUNS[number]):
        if i == cut:
            state = json.loads(json.dumps(stopping.state))
            stopping = of(**HOOKS[name])
            stopping.state = state
        said = stopping.take({MONITOR: score})
        assert said.startswith("the run ends early: coco/bbox_mAP ") == bool(stopping.over)
        rows.append([bool(stopping.over), stopping.state["best"], stopping.state["waited"]])
    assert str(rows) == str(mmengine[f"{name} {number}"])  # as texts, NaN is NaN


def test_a_metric_that_the_evaluation_lacks_is_said_or_with_strict_an_error() -> None:
    lenient = of()
    assert "unknown metric 'coco/bbox_mAP'" in lenient.take({"coco/bbox_mAP_50": 0.1}) and not lenient.over
    with pytest.raises(UserError, match=r"custom_hooks\[0\]\.monitor: unknown metric 'coco/bbox_mAP' \(did you mean"):
        of(strict=True).take({"coco/bbox_mAP_50": 0.1})


def test_a_metric_whose_name_tells_nothing_needs_a_rule() -> None:
    with pytest.raises(UserError, match=r"custom_hooks\[0\]\.rule is missing: 'culane/TP_50' does not tell"):
        of(monitor="culane/TP_50")
    assert of(monitor="culane/TP_50", rule="less")


def test_without_a_hook_no_run_ends_early() -> None:
    none = EarlyStopping(Config({}))
    assert not none and none.take({MONITOR: NAN}) == "" and none.over == ""
