"""MMEngine's ``vis_backends`` in a config: where a training's numbers and pictures go.

    LocalVisBackend, TensorboardVisBackend    what is done in any case
    WandbVisBackend                           Weights & Biases, too (`trainer.reporting.weights_and_biases`)

They stand in ``visualizer.vis_backends``, or at the top level, where MMDetection's own configs have them first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from shared.config_keys import (
    DICT,
    NOTHING,
    REFUSED,
    TEXT,
    ConfigKey,
    Section,
    check_section,
    class_name,
    ignores,
    only,
    reads,
    refuses,
)
from shared.errors import UserError
from shared.hook_keys import listed
from shared.keys import TEXTS, Values, nearest, one_of

_TEXTS = TEXTS.or_none()
_METRICS = Values(
    lambda value: (
        isinstance(value, Mapping)
        or (isinstance(value, list | tuple) and all(isinstance(one, Mapping) and "name" in one for one in value))
    ),
    "a dict of summaries by metric, or a list of dicts with 'name'",
).or_none()
_SAME = "W&B gets TensorBoard's numbers in any case"

BACKENDS: Section = (
    *ignores(
        "numbers and pictures are in the work dir and in its TensorBoard events in any case",
        "LocalVisBackend",
        "TensorboardVisBackend",
    ),
    reads("WandbVisBackend", "a training's numbers and pictures go to Weights & Biases as well; see below"),
    ConfigKey(
        "any other",
        REFUSED,
        "remove it: the work dir's metrics.jsonl and tensorboard/ have all numbers, and WandbVisBackend sends them to "
        "Weights & Biases",
    ),
)
WANDB: Section = (
    reads("type", "`WandbVisBackend`"),
    reads("init_kwargs", "of `wandb.init`", DICT),
    reads(
        "define_metric_cfg", "of W&B's `define_metric`: summaries by TensorBoard's tag, or a list of words", _METRICS
    ),
    reads("log_code_name", "the Python files of the current folder become a code artifact of this name", TEXT),
    *refuses("a line of the log is a row: remove it", "commit", unless=only(True, None)),
    *refuses("it looks at PyTorch's modules: remove it", "watch_kwargs", unless=only(None, {})),
    *ignores("set `init_kwargs.dir`", "save_dir", "name"),
)
INIT: Section = (
    *(reads(name, f"W&B's `{name}`", TEXT) for name in ("entity", "project", "name", "notes", "group", "job_type")),
    reads("tags", "W&B's `tags`", _TEXTS),
    reads("id", "of W&B's run; by default a new one, which a resumed training keeps", TEXT),
    reads("dir", "the folder of `wandb/` (default: WANDB_DIR, else the work dir)", TEXT),
    reads(
        "mode",
        "whether it is sent at once (default, and where WANDB_MODE says so; offline where that cannot be)",
        one_of("online", "offline", "disabled").or_none(),
    ),
    reads("config", "beside the run's own, which W&B gets in any case", DICT),
    reads("config_exclude_keys", "of `config`", _TEXTS),
    reads("config_include_keys", "of `config`", _TEXTS),
    reads("settings", "of `wandb.Settings`", DICT),
    *ignores("a training that is resumed may have another config", "allow_val_change"),
    *ignores(_SAME, "tensorboard", "sync_tensorboard"),
    *ignores("a training has one run", "reinit"),
    *refuses("`--resume` goes on in the same run: remove it", "resume", unless=only(None, "allow")),
    *refuses("remove it, or set `id`", "resume_from", "fork_from", unless=NOTHING),
    *refuses("a training without a login is offline: remove it", "force", "anonymous", unless=NOTHING),
    *refuses("remove it, and set log_code_name to send code", "save_code", unless=NOTHING),
    *refuses("remove it", "monitor_gym", unless=NOTHING),
)


def check_vis_backends(config: Mapping[str, Any]) -> None:
    """Raises UserError for the first backend that is not there, and for a wrong key or value of W&B's."""
    for where, backend in _backends(config):
        if not isinstance(backend, Mapping) or "type" not in backend:
            raise UserError(f"config key {where!r}: expected a dict with 'type', found {backend!r}")
        kind, known = class_name(backend["type"]), {key.name: key for key in BACKENDS}
        if kind not in known:
            says = known["any other"].says
            raise UserError(f"config key '{where}' is {kind!r}, which is not supported: {says}{nearest(kind, known)}")
        if kind == "WandbVisBackend":
            check_section(where, backend, WANDB)
            check_section(f"{where}.init_kwargs", backend.get("init_kwargs"), INIT)


def wandb_backend(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first WandbVisBackend of a config that has been checked.

    Raises:
        UserError: it needs a package that is not installed.
    """
    for where, backend in _backends(config):
        if class_name(backend["type"]) == "WandbVisBackend":
            if find_spec("wandb") is None:
                raise UserError(
                    f"config key '{where}' is WandbVisBackend, which needs the package wandb; "
                    "pip install 'unidetector-jittor[wandb]'"
                )
            return dict(backend)
    return None


def _backends(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All of a config with their places: the visualizer's, which MMEngine reads, and then those beside it."""
    for place, values in (("visualizer.", config.get("visualizer")), ("", config)):
        for index, backend in enumerate(listed((values or {}).get("vis_backends") or [])):
            yield f"{place}vis_backends[{index}]", backend
