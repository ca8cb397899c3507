"""The keys of MMDetection 3's configs that this project knows, and what becomes of each: one table.

    read       it sets something here; values that cannot be honoured are refused
    no effect  accepted: nothing that is trained, measured or delivered depends on it here
    refused    it would change numbers and is not implemented; a value that asks for nothing (None, False) is accepted

`shared.config` checks configs by it, and the table in docs/configs.md is made from it. The `feed` section is in
`shared.feed_keys`, hooks are in `shared.hook_keys`, samplers in `shared.samplers`; a model's keys are those of its
classes (`trainer.models`), a data set's and a metric's those of MMDetection, which builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

from shared.errors import UserError
from shared.keys import COUNT, SWITCH, Values, nearest, of_type, one_of

READ, NO_EFFECT, REFUSED = "read", "no effect", "refused"
_SCOPES = ("mmdet", "mmengine", "mmcv", "torch")


def class_name(kind: object) -> str:
    """The name in ``type=``, without MMDetection's, MMEngine's, MMCV's or torch's scope or modules."""
    scope, _, name = str(kind).rpartition(".")
    return name if scope.split(".")[0] in _SCOPES else str(kind)


@dataclass(frozen=True)
class ConfigKey:
    """One key.

    Attributes:
        fate: READ, NO_EFFECT or REFUSED.
        says: what it sets; why it has no effect; what to do instead.
        values: those that are accepted; None: any, or none of a key that is refused.
    """

    name: str
    fate: str
    says: str
    values: Values | None = None

    def check(self, where: str, value: Any) -> None:
        """Raises UserError unless `value` is accepted."""
        if self.fate == REFUSED and not (self.values and self.values.accepts(value)):
            raise UserError(f"config key '{where}' is {short(value)}, which is not supported: {self.says}")
        if self.fate == READ and self.values:
            self.values.check(f"config key '{where}'", value)


Section = tuple[ConfigKey, ...]


def reads(name: str, says: str, values: Values | None = None) -> ConfigKey:
    return ConfigKey(name, READ, says, values)


def ignores(says: str, *names: str) -> Section:
    return tuple(ConfigKey(name, NO_EFFECT, says) for name in names)


def refuses(says: str, *names: str, unless: Values | None = None) -> Section:
    return tuple(ConfigKey(name, REFUSED, says, unless) for name in names)


def types(*names: str) -> Values:
    """The classes that a ``type`` may name, with or without MMDetection's scope."""
    return Values(lambda value: class_name(value) in names, " or ".join(map(repr, names)))


def only(*values: Any) -> Values:
    """Some values, told apart by type, so that False is no 0."""
    return Values(
        lambda value: any(type(value) is type(one) and value == one for one in values),
        " or ".join(map(repr, values)),
    )


def check_section(where: str, values: Any, keys: Section) -> None:
    """Checks one section.

    Args:
        where: its dotted place in the config.
        values: what the config has there; None is an absent section.

    Raises:
        UserError: it is no dict; the first key that is unknown, with the nearest known one; the first value that is not
            accepted, with what to do.
    """
    if values is None:
        return
    if not isinstance(values, Mapping):
        raise UserError(f"config key {where!r}: expected a dict, found {type(values).__name__}")
    known = {key.name: key for key in keys}
    for name, value in values.items():
        if name == "_scope_":
            continue
        if name not in known:
            usable = [key.name for key in keys if key.fate == READ]
            raise UserError(f"{where}: unknown key {name!r}{nearest(name, known)}; known: {', '.join(usable)}")
        known[name].check(f"{where}.{name}", value)


DICT = of_type(Mapping, "a dict").or_none()
TEXT = of_type(str, "a text").or_none()
BEGIN = Values(lambda value: COUNT.accepts(value) or value in (0, None), "0 or more")
# MMDetection's configs compute some by division
WHOLE = Values(
    lambda value: COUNT.accepts(int(value) if isinstance(value, float) and value.is_integer() else value), "1 or more"
)
NOTHING = only(None, False)
ONE = Values(lambda value: not isinstance(value, bool) and value in (1, None), "1")

_WORKERS = "workers are set by --workers, batches come over shared memory"


def _is_intervals(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and COUNT.accepts(pair[0]) and WHOLE.accepts(pair[1])
        for pair in value
    )


TOP_LEVEL: Section = (
    reads("model", "the network"),
    reads("data_preprocessor", "`model.data_preprocessor`, where the model has none", DICT),
    reads("train_dataloader", "the data to train on", DICT),
    reads("val_dataloader", "the data to evaluate on", DICT),
    reads("test_dataloader", "the data to evaluate on", DICT),
    reads("val_evaluator", "metrics of `val_dataloader`"),
    reads("test_evaluator", "metrics of `test_dataloader`"),
    reads("train_cfg", "epochs or steps, and evaluations", DICT),
    reads("val_cfg", "accepted as `dict(type='ValLoop')`", DICT),
    reads("test_cfg", "accepted as `dict(type='TestLoop')`", DICT),
    reads("optim_wrapper", "the optimizer"),
    reads("param_scheduler", "the learning rate and the momentum; a list, one dict, or None: constant"),
    reads("auto_scale_lr", "scales the learning rate with the batch", DICT),
    reads("default_hooks", "checkpoints and the log", DICT),
    reads("custom_hooks", "see `type=` below"),
    reads("randomness", "the seed", DICT),
    reads("load_from", "weights to start from", TEXT),
    reads("resume", "True: as `--resume`; with `load_from`: from that checkpoint", SWITCH),
    reads("work_dir", "where a run's files go, unless `--work-dir` says", TEXT),
    reads("custom_imports", "modules that the data server's workers import, without Jittor", DICT),
    reads("feed", "the stream of batches (docs/serving.md)"),
    reads("data_root", "the folder of data sets that name none", TEXT),
    reads("proposal_dir", "the folder that `propose` writes to", TEXT),
    reads(
        "default_scope",
        "whose classes a `type` names: MMDetection's",
        one_of("mmdet", "mmengine").or_none(),
    ),
    reads("env_cfg", "its `cudnn_benchmark`", DICT),
    reads("cudnn_benchmark", "as `env_cfg.cudnn_benchmark`, which MMDetection 3 reads alone", SWITCH.or_none()),
    *ignores("nothing is decided by it here", "launcher", "experiment_name"),
    *ignores("the log has one form; see `default_hooks.logger`", "log_level", "log_processor"),
    reads("visualizer", "its `vis_backends`; nothing else of it has an effect", DICT),
    reads("vis_backends", "where a training's numbers and pictures go"),
    *ignores("used by MMDetection's `test.py --tta` only", "tta_model", "tta_pipeline"),
    *ignores("ranks are mpirun's: docs/beyond-one-machine.md", "model_wrapper_cfg", "find_unused_parameters"),
    *ignores("running statistics are not trained here", "sync_bn"),
    *refuses("remove it: there is one runner here", "runner_type", "strategy", unless=only(None, "Runner")),
)
"""A key that is not here is a variable of the config's own; `shared.typing_errors` looks for misspelt ones."""

# MMDetection 2's keys, which MMDetection 3 does not read, and what says the same there
MMDETECTION_2 = {
    "optimizer": "optim_wrapper=dict(optimizer=...)",
    "optimizer_config": "optim_wrapper=dict(clip_grad=...)",
    "lr_config": "param_scheduler=[...]",
    "momentum_config": "param_scheduler=[...]",
    "runner": "train_cfg=dict(max_epochs=...)",
    "total_epochs": "train_cfg=dict(max_epochs=...)",
    "evaluation": "val_evaluator and train_cfg=dict(val_interval=...)",
    "checkpoint_config": "default_hooks=dict(checkpoint=...)",
    "log_config": "default_hooks=dict(logger=...)",
    "resume_from": "load_from=... with resume=True",
    "workflow": "train_cfg=dict(val_interval=...)",
    "fp16": "nothing: training is in float32",
    "seed": "randomness=dict(seed=...)",
    "data": "train_dataloader, val_dataloader and test_dataloader",
}

DATALOADER: Section = (
    reads("batch_size", "images in a batch", COUNT),
    reads("dataset", "MMDetection's data set, with its pipeline"),
    reads("sampler", "the order of images", DICT),
    reads("batch_sampler", "how images are put into batches", DICT),
    *ignores(_WORKERS, "num_workers", "persistent_workers", "pin_memory", "pin_memory_device", "prefetch_factor"),
    *ignores(_WORKERS, "timeout", "multiprocessing_context", "disable_subprocess_warning", "in_order"),
    reads("drop_last", "as `batch_sampler.drop_last`, without a batch_sampler; in training", SWITCH.or_none()),
    reads("num_batch_per_epoch", "the first images alone, as many as that takes; in training", COUNT.or_none()),
    *refuses(
        "batches are padded as pseudo_collate and DetDataPreprocessor do: remove it",
        "collate_fn",
        unless=Values(
            lambda value: value is None or class_name(dict(value).get("type")) == "pseudo_collate", "pseudo_collate"
        ),
    ),
    *refuses("remove it: every sample has a seed of its own", "worker_init_fn", "generator", unless=NOTHING),
    *refuses("set it in the sampler, as MMEngine does", "shuffle"),
)

TRAIN_CFG: Section = (
    ConfigKey(
        "type",
        REFUSED,
        "only EpochBasedTrainLoop, with max_epochs, and IterBasedTrainLoop, with max_iters: use one of them",
        types("EpochBasedTrainLoop", "IterBasedTrainLoop"),
    ),
    reads("by_epoch", "True: EpochBasedTrainLoop (the default), False: IterBasedTrainLoop; instead of type", SWITCH),
    reads("max_epochs", "epochs to train (default 12), with EpochBasedTrainLoop", WHOLE.or_none()),
    reads("max_iters", "steps to train, with IterBasedTrainLoop", WHOLE.or_none()),
    reads("val_interval", "epochs (default 1), or steps (default 1000), from one evaluation to the next", WHOLE),
    reads("val_begin", "the first epoch, or step, that may be evaluated (default 1)", BEGIN),
    reads(
        "dynamic_intervals",
        "(begin, interval) pairs: `val_interval` from that epoch, or step, on",
        Values(_is_intervals, "a list of (begin, interval)").or_none(),
    ),
    reads(
        "val_async",
        "True: training goes on while the metrics of an evaluation are computed; what follows from them follows at the "
        "next evaluation, or at the end (default: False)",
        SWITCH,
    ),
    *ignores("a run that is resumed goes on at its next batch, at no cost", "fast_forward_on_resume"),
)

VAL_CFG: Section = (
    ConfigKey("type", REFUSED, "only ValLoop and TestLoop: use them", types("ValLoop", "TestLoop")),
    reads("fp16", "whether maps are float16 in an evaluation on a GPU; a CPU computes in float32", SWITCH.or_none()),
)

RANDOMNESS: Section = (
    reads(
        "seed",
        "of everything drawn at random (default, and None: 0)",
        Values(
            lambda value: type(value) is int and value in range(1 << 32), "a whole number from 0 to 4294967295"
        ).or_none(),
    ),
    *ignores("what is drawn depends on the step, and no two ranks take the same", "diff_rank_seed"),
    reads(
        "deterministic",
        "True: a GPU makes its sums in one order, so that two runs are equal (docs/gpu.md); a CPU does so anyway",
        SWITCH.or_none(),
    ),
)

ENV_CFG: Section = (
    reads(
        "cudnn_benchmark",
        "True: on a GPU cuDNN tries its algorithms for each new size and takes the fastest (default: the one that it "
        "ranks first); the log says that `randomness.deterministic` overrules it",
        SWITCH.or_none(),
    ),
    *ignores(_WORKERS, "mp_cfg", "resource_limit"),
    *ignores("ranks are mpirun's: docs/beyond-one-machine.md", "dist_cfg"),
)

AUTO_SCALE_LR: Section = (
    reads("enable", "whether `lr` is multiplied by ranks x batch_size / base_batch_size", SWITCH),
    reads("base_batch_size", "the batch that `lr` is meant for", COUNT),
)

OPTIM_WRAPPER: Section = (
    ConfigKey(
        "type",
        REFUSED,
        "set optim_wrapper.type='OptimWrapper'",
        types("OptimWrapper", "AmpOptimWrapper"),
    ),
    reads("optimizer", "`SGD`, `Adam` or `AdamW`, with torch's keys and defaults"),
    reads("clip_grad", "by the gradients' global norm, or each number of them"),
    reads("paramwise_cfg", "multipliers of learning rate and weight decay, by kinds of parameters"),
    reads("loss_scale", "AmpOptimWrapper's: 'dynamic' (default), a number, or a dict of GradScaler's keywords"),
    reads(
        "dtype",
        "AmpOptimWrapper's: of maps on a GPU (default float16); a CPU computes in float32",
        one_of("float16", "bfloat16").or_none(),
    ),
    *refuses("remove it: every rank has all weights", "use_fsdp", unless=NOTHING),
    reads("accumulative_counts", "batches whose mean gradient makes an update (default 1)", COUNT),
    *refuses(
        "parameter groups come from paramwise_cfg.custom_keys",
        "constructor",
        unless=Values(
            lambda value: value is None or class_name(value) == "DefaultOptimWrapperConstructor",
            "DefaultOptimWrapperConstructor",
        ),
    ),
)

# beside `lr` and those of the algorithm (`trainer.training.optimizer`)
OPTIMIZER: Section = (
    *ignores("they are how torch computes the same", "foreach", "fused", "capturable"),
    *refuses("remove it", "maximize", "differentiable", unless=NOTHING),
    *refuses("use AdamW", "decoupled_weight_decay", unless=NOTHING),
)

PARAMWISE_CFG: Section = (
    reads("custom_keys", "a part of parameters' names -> `lr_mult`, `decay_mult`"),
    reads("bias_lr_mult", "of biases that are no norm's and match no custom key"),
    reads("bias_decay_mult", "of biases that match no custom key, a norm's where there is no norm_decay_mult"),
    reads("norm_decay_mult", "of norms' weights and biases that match no custom key"),
    *ignores("no parameter is shared", "bypass_duplicate"),
    *refuses(
        "write the parameters' names in custom_keys",
        "dwconv_decay_mult",
        "dcn_offset_lr_mult",
        "flat_decay_mult",
        unless=ONE,
    ),
)

CLIP_GRAD: Section = (
    reads("type", "whether the global norm is clipped (default), or each number", one_of("norm", "value").or_none()),
    reads("max_norm", "of the gradients' global norm"),
    reads("norm_type", "by which power that is measured: 2 (default), any other above 0, 'inf': the largest"),
    reads("clip_value", "of each number, with type='value'"),
    *ignores("a norm that is not finite is an error in any case", "error_if_nonfinite", "foreach"),
)

# by dotted place in the config; samplers' are in `shared.samplers`, those of optim_wrapper.optimizer are looked at when
# one is built
SECTIONS: dict[str, Section] = {
    **{f"{split}_dataloader": DATALOADER for split in ("train", "val", "test")},
    "train_cfg": TRAIN_CFG,
    "val_cfg": VAL_CFG,
    "test_cfg": VAL_CFG,
    "randomness": RANDOMNESS,
    "env_cfg": ENV_CFG,
    "auto_scale_lr": AUTO_SCALE_LR,
    "optim_wrapper": OPTIM_WRAPPER,
    "optim_wrapper.paramwise_cfg": PARAMWISE_CFG,
    "optim_wrapper.clip_grad": CLIP_GRAD,
}
