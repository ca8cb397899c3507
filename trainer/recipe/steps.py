"""The steps of a recipe, read from its file.

Keys of a step::

    name       its work dir, and what later steps call it
    task       train, propose, evaluate, ...: a task of the trainer
    config     a config file; a relative path starts at the recipe's folder
    options    overrides of that config, as --cfg-options; '{stage_1}' in a text stands for that step's work dir
    weights    the earlier train step whose final weights it starts from, or evaluates
    needs      further earlier steps whose results its config reads
    arguments  further words of its command line
    title      an evaluation's row in the recipe's table
    minutes    how long it takes on two quiet cores, once Jittor has compiled its kernels; only shown, never used

Keys of the recipe beside ``steps``: ``options``, overrides for all steps; ``metrics``, the columns of the table
and what they are called there; ``headings``, what splits are called in it; ``title``, ``summary`` and ``note``, of the
report and below its table; ``work_dir`` (default: work_dirs/<recipe's name>). Names that begin with _ are the file's
own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from shared.config import cause, load_config
from shared.errors import UserError
from shared.hook_keys import find_hook
from shared.keys import check_keys, check_number, unknown
from shared.vis_backends import wandb_backend
from trainer import tasks

_REFERENCE = re.compile(r"\{([a-z0-9_]+)\}")
_NAME = re.compile(r"[a-z0-9_]+")
_STEP_KEYS = ("name", "task", "config", "options", "weights", "needs", "arguments", "title", "minutes")
_METRICS = {"bbox_mAP": "AP", "bbox_mAP_50": "AP50"}
_RECIPE_KEYS = ("title", "summary", "note", "steps", "options", "metrics", "headings", "work_dir")


@dataclass(frozen=True)
class Step:
    """One task on one config.

    Attributes:
        config: loaded, with the overrides of recipe and step; references still stand as '{step}'.
        needs: the earlier steps it builds on, the one of `weights` among them.
        others: see the module's text.
    """

    name: str
    task: str
    config: Config
    weights: str | None
    needs: tuple[str, ...]
    arguments: tuple[str, ...]
    title: str
    minutes: float | None = None


@dataclass(frozen=True)
class Recipe:
    """The steps, in the order in which they are run."""

    path: Path
    title: str
    steps: list[Step]
    metrics: dict[str, str]
    headings: dict[str, str]
    summary: str
    note: str
    work_dir: Path


def read(path: str, overrides: dict[str, Any]) -> Recipe:
    """Reads a recipe and the configs of all its steps.

    Args:
        overrides: of the recipe's own keys, as --cfg-options gives them.

    Raises:
        UserError: the file or a config of a step is missing or wrong; names recipe, step and key.
    """
    if not os.path.isfile(path):
        raise UserError(f"recipe {path!r}: no such file")
    try:
        content = Config.fromfile(path, import_custom_modules=False)
        content.merge_from_dict(overrides)
    except Exception as error:
        raise UserError(f"recipe {path!r}: {cause(error, str(path))}") from None
    if "model" in content:
        raise UserError(f"recipe {path!r}: this is the config of a model, not a recipe: --config {path}")
    own = {key: value for key, value in content.items() if not key.startswith("_")}
    check_keys(f"recipe {path!r}", own, _RECIPE_KEYS)
    if not isinstance(content.get("steps"), list) or not content.steps:
        raise UserError(f"recipe {path!r}: 'steps' should be a list of dicts with 'name', 'task' and 'config'")
    steps: list[Step] = []
    for number, values in enumerate(content.steps, 1):
        where = f"recipe {path!r}, step {number}"
        steps.append(_step(values, steps, content.get("options") or {}, Path(path).parent, where))
    return Recipe(
        Path(path),
        content.get("title") or Path(path).stem,
        steps,
        dict(content.get("metrics") or _METRICS),
        dict(content.get("headings") or {}),
        content.get("summary") or "",
        content.get("note") or "",
        Path(content.get("work_dir") or Path("work_dirs") / Path(path).stem),
    )


def _step(values: Any, earlier: list[Step], options: dict, folder: Path, where: str) -> Step:
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a dict, found {values!r}")
    check_keys(where, values, _STEP_KEYS)
    for key in ("name", "task", "config"):
        if not isinstance(values.get(key), str):
            raise UserError(f"{where}: {key!r} is {values.get(key)!r}; expected a text")
    names = [step.name for step in earlier]
    name, task = values["name"], values["task"]
    if not _NAME.fullmatch(name) or name in names:
        raise UserError(f"{where}: name {name!r} should be unique, in lower-case letters, digits and _")
    where = f"{where} ({name})"
    if task not in (known := list(filter(tasks.needs_config, tasks.names()))):
        raise unknown(where, "task", task, known)
    try:
        config = load_config(str(folder / values["config"]), flat(options) | flat(values.get("options") or {}))
        if task == "train":
            wandb_backend(config)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if task == "train" and (stopping := find_hook(config, "EarlyStoppingHook")[0]):
        raise UserError(
            f"{where}: config key {stopping!r} is an EarlyStoppingHook: later steps read the checkpoint after "
            "max_epochs, so switch it off in the step's options"
        )
    weights = values.get("weights")
    trained = [step.name for step in earlier if step.task == "train"]
    if weights is not None and weights not in trained:
        raise unknown(f"{where}: weights", "earlier step that trains", weights, trained)
    needs = [*values.get("needs", ()), *([weights] if weights else []), *references(config, names)]
    for need in needs:
        if need not in names:
            raise unknown(f"{where}: needs", "earlier step", need, names)
    arguments = tuple(str(word) for word in values.get("arguments", ()))
    title, minutes = values.get("title") or name, values.get("minutes")
    if minutes is not None:
        check_number(f"{where}: minutes", minutes, 0)
    return Step(name, task, config, weights, tuple(dict.fromkeys(needs)), arguments, title, minutes)


def flat(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Overrides with dots in their keys instead of dicts in dicts, so that a later one takes the place of an earlier.

    A dict with ``_delete_`` replaces as a whole and stays one.
    """
    found: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict) and value and "_delete_" not in value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def references(value: Any, names: list[str]) -> list[str]:
    """The steps that texts in a config refer to as '{step}'."""
    if isinstance(value, dict | Config):
        return [name for item in dict(value.items()).values() for name in references(item, names)]
    if isinstance(value, list | tuple):
        return [name for item in value for name in references(item, names)]
    return [name for name in _REFERENCE.findall(value) if name in names] if isinstance(value, str) else []


def resolved(value: Any, work_dir: Path, names: tuple[str, ...]) -> Any:
    """`value` with references to the steps `names` replaced by their work dirs, which are in `work_dir`."""
    if isinstance(value, dict):
        return {key: resolved(item, work_dir, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(resolved(item, work_dir, names) for item in value)
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: str(work_dir / match[1]) if match[1] in names else match[0], value)
    return value
