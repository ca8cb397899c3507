"""Reading a recipe: references between steps, overrides and their order, and everything that can be wrong in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.recipe import steps

CONFIG = "data_root = 'data'\ntrain_cfg = dict(max_epochs=3)\nmodel = dict(head=dict(file=None, width=1))\n"


def write(folder: Path, text: str) -> str:
    (folder / "config.py").write_text(CONFIG)
    path = folder / "recipe.py"
    path.write_text(text)
    return str(path)


TWO_STEPS = """
steps = [
    dict(name='first', task='train', config='config.py'),
    dict(name='second', task='evaluate', config='config.py', weights='first', title='Second',
         arguments=['--chance'], options={'model.head.file': '{first}/x.json', 'model.head.width': 2}),
]
"""


def test_a_recipe_is_read_with_the_config_of_every_step(tmp_path: Path) -> None:
    recipe = steps.read(write(tmp_path, TWO_STEPS), {})
    first, second = recipe.steps
    assert (recipe.title, recipe.metrics) == ("recipe", {"bbox_mAP": "AP", "bbox_mAP_50": "AP50"})
    assert (first.needs, first.weights, first.title) == ((), None, "first")
    assert (second.needs, second.weights, second.title, second.arguments) == (
        ("first",),
        "first",
        "Second",
        ("--chance",),
    )
    assert first.config.model.head.width == 1 and second.config.model.head.width == 2


def test_a_reference_makes_a_step_need_another_and_becomes_its_work_dir(tmp_path: Path) -> None:
    text = TWO_STEPS.replace("weights='first', ", "")
    second = steps.read(write(tmp_path, text), {}).steps[1]
    assert second.needs == ("first",) and second.weights is None
    made = steps.resolved(second.config.to_dict(), Path("work/dir"), second.needs)
    assert made["model"]["head"]["file"] == "work/dir/first/x.json"


def test_braces_that_name_no_step_stay_as_they_are(tmp_path: Path) -> None:
    second = steps.read(write(tmp_path, TWO_STEPS.replace("{first}/x", "{third}/x")), {}).steps[1]
    made = steps.resolved(second.config.to_dict(), Path("work"), second.needs)
    assert made["model"]["head"]["file"] == "{third}/x.json"


def test_options_of_a_step_win_over_the_recipe_s_and_those_of_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, TWO_STEPS + "options = {'data_root': 'mine', 'model.head.width': 5}\n")
    first, second = steps.read(path, {"options.train_cfg.max_epochs": 1}).steps
    assert first.config.model.head.width == 5 and second.config.model.head.width == 2
    assert first.config.data_root == second.config.data_root == "mine"
    assert first.config.train_cfg.max_epochs == second.config.train_cfg.max_epochs == 1


def test_a_work_dir_is_the_recipe_s_own_or_called_like_it(tmp_path: Path) -> None:
    assert steps.read(write(tmp_path, TWO_STEPS), {}).work_dir == Path("work_dirs/recipe")
    assert steps.read(write(tmp_path, TWO_STEPS + "work_dir = 'there'\n"), {}).work_dir == Path("there")


def test_a_dict_that_replaces_another_stays_whole() -> None:
    options = {"a": {"b": {"c": 1}}, "d": {"_delete_": True, "e": 2}, "f": {}}
    assert steps.flat(options) == {"a.b.c": 1, "d": {"_delete_": True, "e": 2}, "f": {}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps = [", "recipe.py': SyntaxError"),
        ("steps = []", "'steps' should be a list of dicts"),
        ("step = []", "unknown key 'step' (did you mean 'steps'?)"),
        ("model = dict(type='FasterRCNN')", "this is the config of a model, not a recipe: --config"),
        ("steps = ['train']", "step 1: expected a dict, found 'train'"),
        ("steps = [dict(name='a', task='train')]", "step 1: 'config' is None"),
        ("steps = [dict(name='a', task='train', config='config.py', weight='b')]", "did you mean 'weights'"),
        ("steps = [dict(name='a', task='train', config='config.py', minutes=-1)]", "minutes=-1: expected a number at"),
        ("steps = [dict(name='A b', task='train', config='config.py')]", "name 'A b' should be unique"),
        ("steps = [dict(name='a', task='trian', config='config.py')]", r"step 1 \(a\): .*did you mean 'train'"),
        ("steps = [dict(name='a', task='doctor', config='config.py')]", r"step 1 \(a\): .*'doctor'"),
        ("steps = [dict(name='a', task='train', config='none.py')]", r"step 1 \(a\): config '.*none.py': no such file"),
        (
            "steps = [dict(name='a', task='train', config='config.py', options={'train_cfg.epochs': 1})]",
            r"step 1 \(a\): train_cfg: unknown key 'epochs' \(did you mean 'max_epochs'\?\)",
        ),
        (
            "steps = [dict(name='a', task='evaluate', config='config.py', weights='b')]",
            r"weights: unknown earlier step that trains 'b'; known: none",
        ),
        (
            TWO_STEPS.replace("name='second'", "name='first'"),
            "step 2: name 'first' should be unique",
        ),
        (
            TWO_STEPS.replace("weights='first'", "needs=['frist']"),
            r"step 2 \(second\): needs: unknown earlier step 'frist' \(did you mean 'first'\?\)",
        ),
        (
            TWO_STEPS.replace(
                "name='first'",
                "name='first', options=dict(default_hooks=dict(x=dict(type='EarlyStoppingHook', monitor='AR')))",
            ),
            r"step 1 \(first\): config key 'default_hooks\.x' is an EarlyStoppingHook: .* switch it off in the step's",
        ),
    ],
)
def test_a_mistake_is_told_with_recipe_step_and_key(text: str, says: str, tmp_path: Path) -> None:
    says = says.replace("(did you mean 'steps'?)", r"\(did you mean 'steps'\?\)")
    with pytest.raises(UserError, match=says):
        steps.read(write(tmp_path, text), {})


def test_a_training_that_weights_and_biases_should_follow_needs_it_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = TWO_STEPS + "options = {'vis_backends': [dict(type='WandbVisBackend')]}\n"
    steps.read(write(tmp_path, asked), {})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"step 1 \(first\): .*'vis_backends\[0\]'.*jittor\[wandb\]"):
        steps.read(write(tmp_path, asked), {})


def test_a_missing_recipe_is_named() -> None:
    for name in ("/nowhere/r.py", "x" * 300):
        with pytest.raises(UserError, match=rf"recipe '{name}': no such file"):
            steps.read(name, {})
