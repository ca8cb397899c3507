"""A user's hooks: what can be made of a config, and in which order they are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.training.hooks import Hook, Hooks, Moment

MODULE = """
from trainer.training.hooks import Hook

class Good(Hook):
    def __init__(self, log):
        self.log = log
    def after_step(self, now, losses, rate):
        self.log.append((now.step, losses, rate))
    def after_evaluation(self, now, metrics):
        self.log.append(metrics)

class Other: pass

class Broken(Hook):
    def __init__(self):
        self.log = {}["log"]
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good_hooks.py").write_text(MODULE)
    (tmp_path / "torch_hooks.py").write_text("import torch\nclass Mine: pass\n")
    (tmp_path / "engine_hooks.py").write_text("from mmengine.hooks import Hook\nclass Mine(Hook): pass\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ({"type": "no_hooks.Mine"}, "'no_hooks.Mine', which cannot be imported: .*expected 'module.Class' of a module"),
        ({"type": "good_hooks.Bad"}, "'good_hooks.Bad', which cannot be imported: .*has no attribute 'Bad'"),
        ({"type": "torch_hooks.Mine"}, "which cannot be imported: .*/torch_hooks.py line 1: .*torch.*imports no torch"),
        ({"type": "engine_hooks.Mine"}, "which cannot be imported: .*/engine_hooks.py line 1: .*imports no torch"),
        ({"type": "good_hooks.Other"}, "expected a class derived from trainer.training.hooks.Hook"),
        ({"type": "good_hooks.Good"}, "good_hooks.Good cannot be made: .*'log'"),
        ({"type": "good_hooks.Broken"}, "good_hooks.Broken cannot be made: .*/good_hooks.py line 16: KeyError"),
    ],
)
def test_what_is_no_hook_is_refused_by_its_place(hook: dict, says: str) -> None:
    with pytest.raises(UserError, match=rf"^config key 'custom_hooks\[1\].*{says}"):
        Hooks({"custom_hooks": [{"type": "NumClassCheckHook"}, hook]})


def test_hooks_are_told_in_their_order_once_and_not_before_they_are_called() -> None:
    log: list = []
    hooks = Hooks({"custom_hooks": [{"type": "good_hooks.Good", "log": log, "priority": "LOW"}] * 2})
    now = Moment(3, 1, Path("work"))
    hooks.tell("after_step", now, {"loss": 0.5}, 0.1)
    hooks.tell("after_evaluation", now, {"val": {"AR": 0.3}})
    assert not log
    hooks.call()
    hooks.call()
    assert log == [(3, {"loss": 0.5}, 0.1)] * 2 + [{"val": {"AR": 0.3}}] * 2


def test_a_base_class_hears_everything_and_does_nothing() -> None:
    now = Moment(1, 0, Path("work"))
    Hook().after_step(now, {}, 0.1)
    Hook().after_epoch(now, dict)
    Hook().after_evaluation(now, {})


def test_several_ranks_have_no_hooks() -> None:
    with pytest.raises(UserError, match=r"'custom_hooks\[0\]': a hook of your own needs one rank"):
        Hooks({"custom_hooks": [{"type": "good_hooks.Good", "log": []}]}, ranks=2)
    assert not Hooks({}, ranks=2)
