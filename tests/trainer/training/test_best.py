"""Which checkpoints are the best, against MMEngine's CheckpointHook, which needs torch and runs in its own process."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.training.best import Best

NAN = float("nan")
STEPS = 7  # of an epoch
MAP, LOSS, OTHER = "coco/bbox_mAP", "val/loss", "culane/TP_50"
RISING_AND_FALLING = [{MAP: score, LOSS: 1 - score, OTHER: -score} for score in (0.1, 0.3, 0.3, 0.2, 0.31, 0.0, 0.4)]
WITH_GAPS = [{MAP: score, LOSS: 0.0, OTHER: 0.0} for score in (NAN, -1.0, NAN, 0.0, 0.0, 0.5, NAN)]
HOOKS = {
    "the first metric": {"save_best": "auto"},
    "by name": {"save_best": MAP},
    "by a rule of its own": {"save_best": MAP, "rule": "less"},
    "a loss": {"save_best": LOSS},
    "several": {"save_best": [MAP, LOSS]},
    "several with one rule": {"save_best": [MAP, LOSS], "rule": "greater"},
    "several with a rule for each": {"save_best": [MAP, OTHER], "rule": ["greater", "less"]},
    "keys of its own": {"save_best": OTHER, "greater_keys": ["CuLane/tp_50"]},
    "one key of its own": {"save_best": OTHER, "less_keys": "tp"},
    "by steps": {"save_best": MAP, "by_epoch": False},
}

MMENGINE = """
import json, os, sys, tempfile, types
from mmengine.hooks import CheckpointHook
hooks, runs, steps = json.load(sys.stdin)
result = {}
for name, settings in hooks.items():
    for number, run in enumerate(runs):
        with tempfile.TemporaryDirectory() as folder:
            info, rows = {}, []
            hub = types.SimpleNamespace(runtime_info=info, get_info=info.get, update_info=info.__setitem__)
            runner = types.SimpleNamespace(
                message_hub=hub, work_dir=folder, logger=types.SimpleNamespace(info=lambda text: None), epoch=0, iter=0,
                save_checkpoint=lambda out, filename, *_, **__: open(os.path.join(out, filename), "w").close())
            hook = CheckpointHook(**settings)
            hook.before_train(runner)
            for epoch, metrics in enumerate(run, 1):
                runner.epoch, runner.iter = epoch, epoch * steps
                hook.after_val_epoch(runner, metrics)
                rows.append(sorted(file.removesuffix(".pth") for file in os.listdir(folder)))
            result[f"{name} {number}"] = rows, {k: v for k, v in info.items() if k.startswith("best_score")}
print("RESULT" + json.dumps(result))
"""


@pytest.fixture(scope="module")
def mmengine() -> dict:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: mmengine's hooks cannot be run")
    question = json.dumps([HOOKS, [RISING_AND_FALLING, WITH_GAPS], STEPS])
    done = subprocess.run([sys.executable, "-c", MMENGINE], input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.mark.slow
@pytest.mark.parametrize("cut", [None, 2, 5], ids=["in one go", "resumed after 2", "resumed after 5"])
@pytest.mark.parametrize(("number", "run"), [(0, RISING_AND_FALLING), (1, WITH_GAPS)])
@pytest.mark.parametrize("name", HOOKS)
def test_the_best_files_after_every_evaluation_are_mmengines(
    name: str, number: int, run: list, cut: int | None, mmengine: dict
) -> None:
    best, files, rows = Best(HOOKS[name]), set(), []
    for epoch, metrics in enumerate(run, 1):
        if epoch == cut:
            state = json.loads(json.dumps(best.state))
            best = Best(HOOKS[name])
            best.state = state
        for new in best.take(metrics, epoch, epoch * STEPS):
            files -= {new.former}
            files |= {new.file}
        rows.append(sorted(Path(file).stem for file in files))
    expected, scores = mmengine[f"{name} {number}"]
    assert rows == expected
    assert {entry["score"] for entry in best.state.values()} == set(scores.values())


def test_a_metric_may_be_named_as_in_this_projects_tables() -> None:
    (new,) = Best({"save_best": "bbox_mAP"}).take({"coco/bbox_mAP": 0.5}, 3, 21)
    assert new == ("coco/bbox_mAP", 0.5, "best_coco_bbox_mAP_epoch_3.safetensors", None)


def test_a_hook_without_save_best_keeps_none() -> None:
    for hook in ({}, {"save_best": None}, {"save_best": False, "rule": ["less", "greater"]}):
        assert not Best(hook) and Best(hook).take({MAP: 1.0}, 1, 7) == []


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ({"save_best": "coco/bbox_mAp_50s"}, "save_best: unknown metric 'coco/bbox_mAp_50s' (did you mean"),
        ({"save_best": OTHER}, "default_hooks.checkpoint.rule is missing: 'culane/TP_50' does not tell what is better"),
        ({"save_best": [MAP, LOSS], "rule": ["less"] * 3}, "rule has 3 rules for 2 metrics; give one, or one for each"),
    ],
)
def test_what_cannot_be_decided_is_named(hook: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        Best(hook).take(RISING_AND_FALLING[0], 1, 7)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_the_first_metric_that_tells_nothing_is_named_and_nothing_is_decided() -> None:
    best = Best({"save_best": "auto"})
    with pytest.raises(UserError, match="rule is missing: 'culane/TP_50'"):
        best.take({OTHER: 1.0}, 1, 7)
    assert best.state == {}
