"""MMDetection 3's hooks in a config: which are honoured, which have no effect here, and what to do about the others.

``default_hooks`` names hooks, ``custom_hooks`` lists them. A hook that is None is switched off, as in MMEngine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.config_keys import (
    BEGIN,
    NOTHING,
    REFUSED,
    ConfigKey,
    Section,
    check_section,
    class_name,
    ignores,
    only,
    reads,
    refuses,
    types,
)
from shared.errors import UserError
from shared.keys import COUNT, SWITCH, TEXTS, Values, nearest, one_of

_INTERVAL = Values(
    lambda value: COUNT.accepts(value) or (type(value) is int and value == -1), "1 or more, or -1 (the last only)"
)
_AT_MOST = Values(lambda value: COUNT.accepts(value) or (type(value) is int and value == -1), "1 or more, or -1 (all)")
_FOLDER = "checkpoints lie in the work dir: set --work-dir"
_AVERAGES = ("ExponentialMovingAverage", "MomentumAnnealingEMA", "ExpMomentumEMA", "StochasticWeightAverage")
_RULES = ("greater", "less")
_NAME = Values(lambda value: isinstance(value, str) and bool(value), "a metric's name")
_NUMBER = Values(lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number")
_EPOCH = Values(lambda value: type(value) is int and value >= 0, "0 or more")
_STEPS = Values(
    lambda value: isinstance(value, list | tuple) and all(isinstance(one, Mapping) and "type" in one for one in value),
    "a list of transforms",
)
_ALWAYS = "the state of the optimizer is always in a checkpoint, and the last one is always written"


def listed(value: Any) -> list[Any]:
    """The items of a list or tuple; anything else is one item."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_best(value: Any) -> bool:
    names = listed(value)
    one_each = all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)
    return value in (None, False) or (one_each and (len(names) == 1 or "auto" not in names))


_WORDS = Values(
    lambda value: value is None or all(isinstance(word, str) for word in listed(value)),
    "a text, a list of texts, or None",
)

LOGGER: Section = (
    ConfigKey("type", REFUSED, "only LoggerHook: use it", types("LoggerHook")),
    reads("interval", "steps from one line of the log to the next (default 50)", COUNT),
    *ignores("the log has one form", "priority", "ignore_last", "interval_exp_name", "out_dir", "out_suffix"),
    *ignores("the log has one form", "keep_local", "file_client_args", "log_metric_by_epoch", "backend_args"),
)

CHECKPOINT: Section = (
    ConfigKey("type", REFUSED, "only CheckpointHook: use it", types("CheckpointHook")),
    reads("interval", "epochs, or steps, from one checkpoint to the next (default 1, of steps -1)", _INTERVAL),
    reads("by_epoch", "False: `interval` counts steps; IterBasedTrainLoop knows no epoch but the whole run", SWITCH),
    reads("max_keep_ckpts", "how many are kept (default: all)", _AT_MOST),
    *ignores(_ALWAYS, "save_last", "save_optimizer", "save_param_scheduler"),
    reads(
        "save_best",
        "the metric whose best checkpoint is kept, `best_<metric>_epoch_<N>.safetensors`; a list: one for each; "
        "'auto': the first. Of the first split, by the detector's own scores",
        Values(_is_best, "a metric's name, a list of names, 'auto' alone, or None"),
    ),
    reads(
        "rule",
        "which score is better, for all metrics or for each; where there is none, the metric's name tells",
        Values(
            lambda value: all(rule in (*_RULES, None) for rule in listed(value)),
            "'greater', 'less', a list of them, or None",
        ),
    ),
    reads("greater_keys", "parts of names of metrics of which more is better", _WORDS),
    reads("less_keys", "parts of names of metrics of which less is better", _WORDS),
    *ignores("nothing is decided by it here", "priority", "published_keys"),
    *refuses(_FOLDER, "out_dir", "filename_tmpl", "backend_args", "file_client_args", unless=NOTHING),
    *refuses("remove it", "save_begin", unless=only(0, None)),
)

EMA: Section = (
    reads("type", "`EMAHook`"),
    reads("ema_type", "how it averages (default ExponentialMovingAverage)", types(*_AVERAGES)),
    reads("momentum", "the share of the newest weights (default 0.0002)"),
    reads("gamma", "how fast that share comes down from 1, of ExpMomentumEMA and MomentumAnnealingEMA"),
    reads("interval", "steps from one update of the average to the next (default 1)", COUNT),
    reads("begin_iter", "the first step that is averaged", BEGIN),
    reads("begin_epoch", "the first epoch that is averaged", BEGIN),
    *ignores("running statistics are not trained here: their average is what they are", "update_buffers"),
    *ignores("what is resumed must fit in any case", "strict_load"),
    *ignores("an average is taken after a step's update in any case", "priority"),
    *refuses("the average is where the weights are: remove it", "device", unless=NOTHING),
)

EARLY_STOPPING: Section = (
    reads("type", "`EarlyStoppingHook`"),
    reads("monitor", "the metric that ends a run, of the first split, by the detector's own scores", _NAME),
    reads("rule", "which score is better; where there is none, the metric's name tells", one_of(*_RULES).or_none()),
    reads("min_delta", "what is at least gained by an improvement (default 0.1)", _NUMBER),
    reads("patience", "evaluations in a row without an improvement (default 5)", COUNT),
    reads("stopping_threshold", "a score better than this ends the run", _NUMBER.or_none()),
    reads("strict", "True: an evaluation without this metric is an error", SWITCH),
    reads("check_finite", "True, the default: a score that is not finite ends the run", SWITCH),
    *ignores("a run ends after all that follows from an evaluation in any case", "priority"),
)

PIPELINE_SWITCH: Section = (
    reads("type", "`PipelineSwitchHook`"),
    reads("switch_epoch", "the first epoch, counted from 0, with the other pipeline", _EPOCH),
    reads("switch_pipeline", "that pipeline", _STEPS),
    *ignores("the pipeline is switched before an epoch in any case", "priority"),
)

MODE_SWITCH: Section = (
    reads("type", "`YOLOXModeSwitchHook`"),
    reads("num_last_epochs", "it and one more are the last epochs, with fewer transforms (default 15)", _EPOCH),
    reads(
        "skip_type_keys",
        "the types of MultiImageMixDataset's transforms that are left out (default Mosaic, RandomAffine and MixUp)",
        TEXTS,
    ),
    *ignores("the pipeline is switched before an epoch in any case", "priority"),
)

# hooks that do nothing here that a run could be told by; why
_NO_EFFECT = {
    "the product does it in any case": (
        "NumClassCheckHook",
        "CheckInvalidLossHook",
        "ParamSchedulerHook",
        "DistSamplerSeedHook",
        "IterTimerHook",
        "RuntimeInfoHook",
    ),
    "running statistics are not trained here": ("SyncNormHook", "SyncBuffersHook"),
    "each evaluation draws a contact sheet, `--draw` and the report draw more": (
        "DetVisualizationHook",
        "TrackVisualizationHook",
        "GroundingVisualizationHook",
        "TrainAugmentDetVisualizationHook",
        "NaiveVisualizationHook",
    ),
    "it looks at PyTorch's memory or time": (
        "EmptyCacheHook",
        "MemoryProfilerHook",
        "ProfilerHook",
        "NPUProfilerHook",
    ),
    "used by MMDetection's `test.py --tta` only": ("PrepareTTAHook",),
    "no part of these networks looks at the epoch": ("SetEpochInfoHook",),
}
SECTIONS: dict[str, Section] = {
    "EMAHook": EMA,
    "EarlyStoppingHook": EARLY_STOPPING,
    "PipelineSwitchHook": PIPELINE_SWITCH,
    "YOLOXModeSwitchHook": MODE_SWITCH,
}
_NEEDS = {  # keys that cannot be left out, and what to give
    "EarlyStoppingHook": {"monitor": "the name of a metric, e.g. coco/bbox_mAP"},
    "PipelineSwitchHook": {"switch_epoch": "the first epoch with the other pipeline", "switch_pipeline": "it"},
}
_REFUSED = {
    "MeanTeacherHook": "there is no teacher here: remove it to train on labelled images alone",
    "CheckpointHook": "write it as default_hooks.checkpoint",
    "LoggerHook": "write it as default_hooks.logger",
}
_UNKNOWN = "it is code for PyTorch's runner, which does not run here: remove it if what is trained needs none of it"
_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")  # module.Class
# default hooks that cannot be switched off, and how to get what that would do
_NEEDED = {
    "param_scheduler": "set param_scheduler=None for a constant learning rate",
    "sampler_seed": "set train_dataloader.sampler.shuffle=False for one order in all epochs",
}

HOOKS: Section = (
    reads("LoggerHook", "`default_hooks.logger`; None: no lines before the last step's"),
    reads("CheckpointHook", "`default_hooks.checkpoint`; None: only where a run is interrupted"),
    *(key for why, names in _NO_EFFECT.items() for key in ignores(why, *names)),
    *(ConfigKey(name, REFUSED, why) for name, why in _REFUSED.items() if name not in ("CheckpointHook", "LoggerHook")),
    reads("EMAHook", "an average of the weights is evaluated and saved, in `custom_hooks` or `default_hooks`"),
    reads("EarlyStoppingHook", "ends a run early, in `custom_hooks` or `default_hooks`"),
    reads("PipelineSwitchHook", "another pipeline from an epoch on, of a data set that is in no wrapper"),
    reads(
        "YOLOXModeSwitchHook",
        "the last epochs without Mosaic and MixUp, of a MultiImageMixDataset; its L1 loss is in YOLOX's own head alone",
    ),
    reads("module.Class", "a hook of your own, in `custom_hooks`; see below"),
    ConfigKey("any other", REFUSED, _UNKNOWN),
)


def check_hooks(config: Mapping[str, Any]) -> None:
    """Raises UserError for the first hook of a config that changes training and that we do not have, and for the first
    wrong key or value of one that we have."""
    hooks = config.get("default_hooks") or {}
    if not isinstance(hooks, Mapping):
        raise UserError(f"config key 'default_hooks': expected a dict, found {type(hooks).__name__}")
    for name, hook in hooks.items():
        where = f"default_hooks.{name}"
        if name == "_scope_":
            continue
        if hook is None:
            if name in _NEEDED:
                raise UserError(f"config key '{where}' is None: it cannot be switched off; {_NEEDED[name]}")
        elif name in ("logger", "checkpoint"):
            check_section(where, hook, LOGGER if name == "logger" else CHECKPOINT)
        else:
            _check_hook(where, hook, name)
    custom = config.get("custom_hooks") or []
    if not isinstance(custom, list | tuple):
        raise UserError(f"config key 'custom_hooks': expected a list of dicts, found {type(custom).__name__}")
    for index, hook in enumerate(custom):
        _check_hook(f"custom_hooks[{index}]", hook, "")
    for kind in SECTIONS:
        find_hook(config, kind)


def own_hooks(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The hooks of the user's own in ``custom_hooks`` and their places in the config, in their order."""
    hooks = enumerate(config.get("custom_hooks") or [])
    return [(f"custom_hooks[{index}]", hook) for index, hook in hooks if _OWN.fullmatch(class_name(hook["type"]))]


def find_hook(config: Mapping[str, Any], kind: str) -> tuple[str, Mapping[str, Any]]:
    """The hook of a class, in ``custom_hooks`` or ``default_hooks``, and its place in the config; two empty ones where
    there is none.

    Raises:
        UserError: there are several.
    """
    hooks = {f"default_hooks.{name}": hook for name, hook in (config.get("default_hooks") or {}).items()}
    hooks |= {f"custom_hooks[{index}]": hook for index, hook in enumerate(config.get("custom_hooks") or [])}
    found = {
        where: hook
        for where, hook in hooks.items()
        if isinstance(hook, Mapping) and class_name(hook.get("type")) == kind
    }
    if len(found) > 1:
        raise UserError(f"config keys {' and '.join(map(repr, found))} are both {kind}: one is enough")
    return next(iter(found.items()), ("", {}))


def _check_hook(where: str, hook: Any, name: str) -> None:
    """A hook that is neither the log's nor that of checkpoints; `name` is its key in ``default_hooks``."""
    if not isinstance(hook, Mapping):
        raise UserError(f"config key {where!r}: expected a dict with 'type', found {type(hook).__name__}")
    if "type" not in hook:
        known = ("logger", "checkpoint", "timer", "param_scheduler", "sampler_seed", "visualization")
        raise UserError(
            f"config key {where!r} has no 'type'{nearest(name, known)}; only logger and checkpoint need none"
        )
    kind = class_name(hook["type"])
    if kind in SECTIONS:
        check_section(where, hook, SECTIONS[kind])
        for key, what in _NEEDS.get(kind, {}).items():
            if key not in hook:
                raise UserError(f"config key '{where}.{key}' is missing: give {what}")
        return
    if any(kind in names for names in _NO_EFFECT.values()) or (where.startswith("custom") and _OWN.fullmatch(kind)):
        return
    hint = "" if kind in _REFUSED else nearest(kind, [key.name for key in HOOKS])
    raise UserError(f"config key '{where}' is {kind!r}, which is not supported: {_REFUSED.get(kind, _UNKNOWN)}{hint}")
