import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared import config as configs
from shared.config import load_config
from shared.errors import UserError


def load(tmp_path, text, options=None):
    path = tmp_path / "config.py"
    path.write_text(text)
    return load_config(str(path), options)


def test_a_config_that_is_missing_or_no_python_is_named(tmp_path):
    for name in ("nowhere.py", "x" * 300):  # no file can have so long a name
        with pytest.raises(UserError, match=rf"config '{name}': no such file"):
            load_config(name)
    with pytest.raises(UserError, match=r"config '.*config.py': SyntaxError"):
        load(tmp_path, "a = = 1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = {}\n\nb = a['c']", r"line 3: KeyError: 'c'$"),
        (
            "_base_ = ['base.py']\nbatch = {{_base_.size}}\nlarger = dict(\n    batch=batch + 1)",
            r"line 4: TypeError: .*; {{_base_.key}} is a text as long as the file runs, write _base_.key to",
        ),
        (
            "_base_ = ['base.py']\nsome = {{ _base_.some }}\nsome.key = 1",
            r"line 3: AttributeError: .*; {{_base_.key}} is",
        ),
        ("_base_ = ['wrong.py']", r"config.py': /.*/wrong.py line 2: TypeError: unhashable type: 'dict'$"),
    ],
)
def test_what_goes_wrong_while_a_config_runs_is_told_with_its_file_and_line(tmp_path, text, said):
    (tmp_path / "base.py").write_text("size = 2\nsome = dict(key=2)")
    (tmp_path / "wrong.py").write_text("a = 1\nb = {{}: a}")
    with pytest.raises(UserError, match=said):
        load(tmp_path, text)


def test_a_config_computes_with_the_values_of_its_base(tmp_path):
    (tmp_path / "base.py").write_text("train_dataloader = dict(batch_size=2)")
    text = "_base_ = ['base.py']\nval_dataloader = dict(batch_size=_base_.train_dataloader.batch_size + 1)"
    assert load(tmp_path, text).val_dataloader.batch_size == 3


def test_options_override_the_file_and_are_checked_like_it(tmp_path):
    assert load(tmp_path, "feed = dict(credits=2)", {"feed.credits": 5}).feed.credits == 5
    with pytest.raises(UserError, match=r"config key 'feed.slots' is 0; expected 1 or more, or None"):
        load(tmp_path, "", {"feed.slots": 0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "feed = dict(max_image_sise=(1, 1))",
            r"feed: unknown key 'max_image_sise' \(did you mean 'max_image_size'",
        ),
        ("feed = dict(quux=1)", r"feed: unknown key 'quux'; known: slots, credits, max_image_size"),
        (
            "train_dataloader = dict(batchsize=1)",
            r"train_dataloader: unknown key 'batchsize' \(did you mean 'batch_size'",
        ),
        ("default_hooks = dict(checkpoint=dict(intervall=1))", r"default_hooks.checkpoint: unknown key 'intervall'"),
        ("feed = [1]", r"'feed': expected a dict, found"),
        (
            "train_cfg = dict(type='IterBasedTrainLop')",
            r"'train_cfg.type' is 'IterBasedTrainLop', which is not supported: .* and IterBasedTrainLoop",
        ),
        (
            "val_dataloader = dict(sampler=dict(type='InfiniteSampler'))",
            r"'val_dataloader.sampler.type' is 'InfiniteSampler', which is not supported: only DefaultSampler",
        ),
        ("feed = dict(credits=0)", r"'feed.credits' is 0; expected 1 or more"),
        ("feed = dict(credits=True)", r"'feed.credits' is True; expected 1 or more"),
        ("feed = dict(max_boxes='many')", r"'feed.max_boxes' is 'many'; expected 1 or more, or None"),
        (
            "feed = dict(max_image_size=800)",
            r"'feed.max_image_size' is 800; expected \(height, width\), or None",
        ),
        ("feed = dict(max_image_size=(800, 0))", r"'feed.max_image_size' is \(800, 0\); expected"),
        ("feed = dict(on_bad_sample='skip')", r"'feed.on_bad_sample' is 'skip'; expected 'stop' or 'replace'"),
        ("feed = dict(checksum=1)", r"'feed.checksum' is 1; expected True or False"),
        ("feed = dict(reconnect_seconds='long')", r"'feed.reconnect_seconds' is 'long'; expected 0 or more \(s\)"),
    ],
)
def test_a_mistake_in_our_own_sections_is_named_with_what_was_expected(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_mmdetections_own_sections_are_left_to_mmdetection(tmp_path):
    assert load(tmp_path, "log_processor = dict(type='X')\nmodel = dict(anything=1)").model.anything == 1


def test_loading_a_config_imports_neither_torch_nor_the_users_modules(tmp_path):
    (tmp_path / "config.py").write_text("custom_imports = dict(imports=['a_module_that_would_pull_torch'])")
    code = (
        "import sys, shared.client, shared.config\n"
        "shared.config.load_config(sys.argv[1])\n"
        "wrong = {'torch', 'jittor', 'mmcv', 'mmdet'} & set(sys.modules)\n"
        "sys.exit(', '.join(wrong) or 0)"
    )
    root = Path(configs.__file__).parents[1]
    command = [sys.executable, "-c", code, str(tmp_path / "config.py")]
    subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=True)


def parsed(*arguments, recipe=False):
    parser = argparse.ArgumentParser()
    configs.add_arguments(parser, recipe)
    return parser.parse_args(arguments)


def test_options_are_read_as_mmdetections_tools_read_them():
    options = parsed("--config", "c.py", "--cfg-options", "a.b=1", "c=[1,(2,x)]", "d=text", "e=True")
    assert options.config == "c.py"
    assert options.cfg_options == {"a.b": 1, "c": [1, (2, "x")], "d": "text", "e": True}
    assert parsed("--config", "c.py").cfg_options == {}


@pytest.mark.parametrize(
    ("arguments", "recipe", "says"),
    [
        ((), False, "the following arguments are required: --config"),
        ((), True, "one of the arguments --config --recipe is required"),
        (("--config", "c", "--recipe", "r"), True, "not allowed with argument"),
        (("--config", "c", "--cfg-options"), False, "expected at least one argument"),
        (("--config", "c", "--cfg-options", "a"), False, "--cfg-options a: expected KEY=VALUE with plain values"),
    ],
)
def test_options_that_make_no_sense_are_told(capsys, arguments, recipe, says):
    with pytest.raises(SystemExit) as left:
        parsed(*arguments, recipe=recipe)
    assert left.value.code == 2 and says in capsys.readouterr().err


def test_a_recipe_stands_in_for_a_config():
    assert parsed("--recipe", "r.py", recipe=True).recipe == "r.py"
    assert parsed("--config", "c.py", recipe=True).config == "c.py"


@pytest.mark.parametrize("text", ["", "randomness = None", "randomness = dict()", "randomness = dict(seed=None)"])
def test_without_a_seed_it_is_0(tmp_path, text):
    assert configs.seed_of(load(tmp_path, text)) == 0
    assert configs.seed_of(load(tmp_path, "randomness = dict(seed=7)")) == 7


def test_a_section_that_is_missing_is_told_with_the_nearest(tmp_path):
    config = load(tmp_path, "model = dict(a=1)\nmodels = dict(b=1)\nother = None\nprint(models)")
    assert configs.section(config, "model").a == 1
    with pytest.raises(UserError, match=r"config '.*config\.py' has no 'modell' \(did you mean 'model'\?\)"):
        configs.section(config, "modell")
    with pytest.raises(UserError, match=r"has no 'other'"):
        configs.section(config, "other")


@pytest.mark.parametrize("model", [None, {}, {"roi_head": {}}, {"roi_head": {"bbox_head": [{"num_classes": 80}] * 3}}])
def test_a_model_without_a_box_head_or_with_several_has_none_of_the_kind_that_is_read(model):
    assert configs.box_head(model) == {}
