"""Hooks: those that change nothing are accepted, all others refused by name, with what to do."""

import pytest

from shared.errors import UserError
from shared.hook_keys import check_hooks, listed, own_hooks

HARMLESS = [
    *("NumClassCheckHook", "CheckInvalidLossHook", "ParamSchedulerHook", "DistSamplerSeedHook", "IterTimerHook"),
    *("RuntimeInfoHook", "SyncNormHook", "SyncBuffersHook", "DetVisualizationHook", "TrackVisualizationHook"),
    *("GroundingVisualizationHook", "TrainAugmentDetVisualizationHook", "NaiveVisualizationHook", "EmptyCacheHook"),
    *("MemoryProfilerHook", "ProfilerHook", "NPUProfilerHook", "PrepareTTAHook", "SetEpochInfoHook"),
]
AVERAGES = ["ExponentialMovingAverage", "MomentumAnnealingEMA", "ExpMomentumEMA", "StochasticWeightAverage"]
OTHERS = {
    "MeanTeacherHook": "there is no teacher here",
    "CheckpointHook": "write it as default_hooks.checkpoint",
    "LoggerHook": "write it as default_hooks.logger",
    "OwnHook": "it is code for PyTorch's runner",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_hook_without_an_effect_here_is_accepted_wherever_it_stands(name: str) -> None:
    check_hooks({"custom_hooks": [{"type": name}, {"type": f"mmdet.{name}", "interval": 3}]})
    check_hooks({"default_hooks": {"any": {"type": name}}})


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_is_refused_with_its_place_and_what_to_do(name: str) -> None:
    says = rf"' is '{name}', which is not supported: {OTHERS[name]}"
    with pytest.raises(UserError, match=rf"^config key 'custom_hooks\[1\]{says}"):
        check_hooks({"custom_hooks": [{"type": "IterTimerHook"}, {"type": name}]})
    with pytest.raises(UserError, match=rf"^config key 'default_hooks\.any{says}"):
        check_hooks({"default_hooks": {"any": {"type": name}}})


def test_a_class_of_a_users_module_is_accepted_as_a_custom_hook_alone() -> None:
    own = {"type": "mine.hooks.Loud", "any": 3}
    hooks = {"custom_hooks": [{"type": "mmdet.engine.hooks.SyncNormHook"}, own]}
    check_hooks(hooks)
    assert own_hooks(hooks) == [("custom_hooks[1]", own)] and own_hooks({"custom_hooks": None}) == []
    with pytest.raises(UserError, match=r"^config key 'default_hooks\.any' is 'mine\.hooks\.Loud'"):
        check_hooks({"default_hooks": {"any": own}})


def test_a_hook_without_a_type_is_told_with_the_default_hook_that_may_be_meant() -> None:
    for name in ("logger", "checkpoint", "timer", "param_scheduler", "sampler_seed", "visualization"):
        wrong = name[:3] + name[4:]
        with pytest.raises(UserError, match=rf"'default_hooks.{wrong}' has no 'type' \(did you mean '{name}'\?\)"):
            check_hooks({"default_hooks": {wrong: {"interval": 1}}})
    with pytest.raises(UserError, match=r"'custom_hooks\[0\]' has no 'type'; only logger and checkpoint need none"):
        check_hooks({"custom_hooks": [{}]})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"default_hooks": []}, None),
        ({"default_hooks": [1]}, "'default_hooks': expected a dict, found list"),
        ({"custom_hooks": {"a": 1}}, "'custom_hooks': expected a list of dicts, found dict"),
        ({"custom_hooks": ["EMAHook"]}, r"'custom_hooks\[0\]': expected a dict with 'type', found str"),
        ({"default_hooks": {"timer": 3}}, "'default_hooks.timer': expected a dict with 'type', found int"),
        ({"default_hooks": {"_scope_": "mmdet", "timer": None}, "custom_hooks": ()}, None),
        ({"default_hooks": {"param_scheduler": None}}, "cannot be switched off; set param_scheduler=None"),
        ({"default_hooks": {"sampler_seed": None}}, "cannot be switched off; set train_dataloader.sampler.shuffle"),
    ],
)
def test_what_is_no_table_of_hooks_is_refused(config: dict, says: str | None) -> None:
    if says is None:
        check_hooks(config)
    else:
        with pytest.raises(UserError, match=says):
            check_hooks(config)


@pytest.mark.parametrize(
    ("hook", "key", "accepted", "refused"),
    [
        ("logger", "interval", [1, 50], [0, -1, 1.5, True]),
        ("checkpoint", "interval", [1, -1], [0, -2, 1.5, -1.0, True]),
        ("checkpoint", "max_keep_ckpts", [1, -1], [0, -2]),
        ("checkpoint", "by_epoch", [True, False], [0, None]),
        ("checkpoint", "save_best", [None, False, "auto", "a", ["a", "b"]], [True, "", ["a", "a"], ["auto", "a"], [1]]),
        ("checkpoint", "rule", [None, "less", ["greater", None]], ["more", ["less", 1]]),
        ("checkpoint", "greater_keys", [None, "a", ["a"]], [1, ["a", 1]]),
        ("checkpoint", "less_keys", [None, "a", ["a"]], [1, ["a", 1]]),
        ("checkpoint", "save_begin", [0, None], [1]),
        ("checkpoint", "out_dir", [None], ["elsewhere"]),
        ("checkpoint", "filename_tmpl", [None], ["a"]),
        *(("checkpoint", key, [True, 1], []) for key in ("save_last", "save_optimizer", "save_param_scheduler")),
        *(("checkpoint", key, [None, "x"], []) for key in ("published_keys", "priority")),
        ("checkpoint", "type", ["CheckpointHook", "mmengine.CheckpointHook"], ["Mine"]),
        *(("logger", key, [None, 1], []) for key in ("priority", "ignore_last", "interval_exp_name", "out_dir")),
        *(("logger", key, [None, 1], []) for key in ("out_suffix", "keep_local", "file_client_args", "backend_args")),
        ("logger", "log_metric_by_epoch", [True], []),
        ("logger", "type", ["LoggerHook"], ["Mine"]),
    ],
)
def test_a_setting_of_the_two_own_hooks_has_its_values_and_no_others(
    hook: str, key: str, accepted: list, refused: list
) -> None:
    for value in accepted:
        check_hooks({"default_hooks": {hook: {key: value}}})
    for value in refused:
        with pytest.raises(UserError, match=f"default_hooks.{hook}.{key}"):
            check_hooks({"default_hooks": {hook: {key: value}}})


def test_one_item_is_a_list_of_one() -> None:
    assert listed("a") == ["a"] and listed(("a", "b")) == ["a", "b"] and listed(None) == [None]


@pytest.mark.parametrize(
    ("kind", "key", "accepted", "refused"),
    [
        ("EMAHook", "ema_type", [f"mmengine.{name}" for name in AVERAGES] + AVERAGES, ["Mine", 1]),
        ("EMAHook", "interval", [1, 7], [0, 1.5, True]),
        ("EMAHook", "begin_iter", [0, 7], [-1, 1.5]),
        ("EMAHook", "begin_epoch", [0, 7], [-1, 1.5]),
        *(("EMAHook", key, [True, False], []) for key in ("update_buffers", "strict_load", "priority")),
        ("EMAHook", "device", [None], ["cuda"]),
        ("EMAHook", "momentun", [], [0.1]),
        ("EarlyStoppingHook", "monitor", ["coco/bbox_mAP"], ["", None, 1]),
        ("EarlyStoppingHook", "rule", ["greater", "less", None], ["more"]),
        ("EarlyStoppingHook", "min_delta", [0, 0.1, -1], ["0.1", None, True]),
        ("EarlyStoppingHook", "patience", [1, 5], [0, 1.5]),
        ("EarlyStoppingHook", "stopping_threshold", [0.5, None], ["0.5"]),
        ("EarlyStoppingHook", "strict", [True, False], [1]),
        ("EarlyStoppingHook", "check_finite", [True, False], [0]),
        ("EarlyStoppingHook", "priority", ["LOW"], []),
    ],
)
def test_a_setting_of_hooks_that_change_training_has_its_values_and_no_others(
    kind: str, key: str, accepted: list, refused: list
) -> None:
    needed = {"monitor": "coco/bbox_mAP"} if kind == "EarlyStoppingHook" else {}
    for value in accepted:
        check_hooks({"custom_hooks": [{"type": kind, **needed, key: value}]})
        check_hooks({"default_hooks": {"any": {"type": f"mmengine.{kind}", **needed, key: value}}})
    for value in refused:
        with pytest.raises(UserError, match=rf"custom_hooks\[0\].*{key}"):
            check_hooks({"custom_hooks": [{"type": kind, **needed, key: value}]})


def test_a_run_that_is_to_end_early_names_the_metric() -> None:
    with pytest.raises(UserError, match=r"^config key 'custom_hooks\[0\]\.monitor' is missing: give the name of a met"):
        check_hooks({"custom_hooks": [{"type": "EarlyStoppingHook"}]})
