"""Top-level keys that are almost known ones."""

import pytest

from shared.config import load_config
from shared.errors import UserError
from shared.typing_errors import distance, is_misspelt


def load(tmp_path, text, options=None):
    path = tmp_path / "config.py"
    path.write_text(text)
    return load_config(str(path), options)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("optim_wraper", "optim_wrapper"),
        ("train_dataloder", "train_dataloader"),
        ("auto_scale_Ir", "auto_scale_lr"),
        ("custom_hook", "custom_hooks"),
        ("Default_Hooks", "default_hooks"),
        ("laod_from", "load_from"),
        ("randomnes", "randomness"),
        ("trian_cfg", "train_cfg"),
        ("val_evalutor", "val_evaluator"),
        ("modle", "model"),
        ("parm_scheduler", "param_scheduler"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_one_that_was_meant(tmp_path, name, meant) -> None:
    said = f"config key '{name}' has no effect .did you mean '{meant}'"
    with pytest.raises(UserError, match=said):
        load(tmp_path, f"{name} = dict(a=1)")
    with pytest.raises(UserError, match=said):
        load(tmp_path, "", {name: {"a": 1}})


def test_variables_of_a_configs_own_are_no_mistakes(tmp_path) -> None:
    load(
        tmp_path,
        "data_root_07 = 'x'\ndataset_type = 'CocoDataset'\nimg_norm_cfg = dict(mean=1)\nmetainfo = dict()\n"
        "train_dataloader_2 = dict()\nmax_epochs = 3\nmodels = ['resnet']\nfeeds = models\nmodel = dict(a=models)",
    )


def test_a_variable_that_the_config_uses_may_have_any_name(tmp_path) -> None:
    text = "optimizer = dict(type='SGD', lr=0.5)\noptim_wrapper = dict(optimizer=optimizer)\n"
    written = load(tmp_path, text + "total_epochs = 3\ntrain_cfg = dict(max_epochs=total_epochs)")
    (tmp_path / "written").mkdir()
    written.dump(str(tmp_path / "written" / "dumped.py"))  # where the values stand, and not what they are called
    load_config(str(tmp_path / "written" / "dumped.py"))


def test_the_distance_counts_letters_that_are_missing_added_replaced_or_swapped() -> None:
    assert [distance("model", other) for other in ("model", "mode", "models", "modal", "modle", "")] == [
        0,
        1,
        1,
        1,
        1,
        5,
    ]
    assert (
        not is_misspelt("modes", "model_") and not is_misspelt("seed_2", "seed") and not is_misspelt("medal", "model")
    )


def test_a_misspelt_key_is_found_behind_keys_that_are_right(tmp_path) -> None:
    with pytest.raises(UserError, match=r"config key 'modle' has no effect"):
        load(tmp_path, "work_dir = 'x'\nfeed = dict()\nmodle = dict(a=1)")
