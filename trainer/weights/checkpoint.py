"""Checkpoints: everything that a run needs to continue where it stopped, in one safetensors file.

    backbone.conv1.weight                           parameters and running statistics, under the model's own names
    optimizer.backbone.conv1.weight.momentum_buffer the optimizer's state, under `Optimizer.state_dict`'s names
    training.backbone.conv1.weight                  where the parameters are averages, those that training goes on with
    evaluation.backbone.conv1.weight                where an evaluation is under way, what it judges
    metadata                                        format_version, cursor, meta: strings, the last two JSON

Text embeddings (``zs_weights*``) are saved and never read: a run has those of its config's vocabulary.
``cursor`` is the stream's position ``{"epoch": e, "step": s}`` of the next step; ``meta`` is what else the caller keeps
(seed, config text, ...). Loading reads numbers and JSON only, so a file from elsewhere can execute nothing.

A save is all or nothing: killed at any point, `latest` still names a complete file::

    partial file in the same directory -> fsync -> rename to its name
    ``last_checkpoint``, a text file with that name (mmengine's convention), in the same way
    the oldest files beyond `max_keep` are deleted
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from shared import json_text
from shared.errors import UserError
from shared.files import replace
from trainer.device import jt, nn, var
from trainer.weights.formats.file import is_safetensors
from trainer.weights.names import check_finite, describe_mismatch, is_bookkeeping

FORMAT_VERSION = "1"
OPTIMIZER_PREFIX = "optimizer."
TRAINING_PREFIX = "training."
EVALUATION_PREFIX = "evaluation."
_PREFIXES = (OPTIMIZER_PREFIX, TRAINING_PREFIX, EVALUATION_PREFIX)
LAST_CHECKPOINT = "last_checkpoint"
PARTIAL = ".partial"  # one name for all steps: what a kill leaves behind is overwritten by the next save


class HasWeights(Protocol):
    """What a checkpoint is of: a model, or its weights as they were."""

    def state_dict(self, to: str) -> dict[str, np.ndarray]: ...


class HasState(Protocol):
    """What is saved and restored beside the model, such as an optimizer: arrays by name."""

    def state_dict(self) -> dict[str, np.ndarray]: ...

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    """What `load` read: arrays by name, and the metadata. All but `model` are empty where none was saved."""

    path: Path
    model: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    training: dict[str, np.ndarray]
    evaluation: dict[str, np.ndarray]
    cursor: dict[str, int]
    meta: dict[str, Any]


def save(
    path: str | os.PathLike,
    model: HasWeights,
    optimizer: HasState | None,
    cursor: dict[str, int],
    meta: dict[str, Any],
    max_keep: int | None = None,
    latest: bool = True,
    training: Mapping[str, np.ndarray] | None = None,
    evaluation: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes `path` (``*.safetensors``) and, with `latest`, makes it the directory's latest checkpoint.

    With `max_keep`, only the newest of the files whose names differ from this one in their numbers alone are kept
    (``step_500.safetensors``, ``step_1000.safetensors``; never ``best_bbox_mAP_epoch_3.safetensors``).

    Raises:
        UserError: a number of the model is not finite, or the file cannot be written (disk full, no permission);
            earlier checkpoints are untouched.
    """
    path = Path(path)
    tensors = model.state_dict(to="numpy")
    tensors |= {TRAINING_PREFIX + name: array for name, array in (training or {}).items()}
    tensors |= {EVALUATION_PREFIX + name: array for name, array in (evaluation or {}).items()}
    spoilt = [name for name, array in tensors.items() if not np.isfinite(array).all()]
    if spoilt:
        raise UserError(
            f"checkpoint {path} is not written: {len(spoilt)} tensors have numbers that are not finite, the first is "
            f"{spoilt[0]}; earlier checkpoints, if any, are untouched: go on from the last with a lower learning rate"
        )
    if optimizer is not None:
        tensors |= {OPTIMIZER_PREFIX + name: array for name, array in optimizer.state_dict().items()}
    metadata = {"format_version": FORMAT_VERSION, "cursor": json.dumps(cursor), "meta": json.dumps(meta)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, safetensors.save(tensors, metadata), PARTIAL)
        if latest:
            replace(path.parent / LAST_CHECKPOINT, path.name.encode())
        if max_keep is not None:
            _prune(path, max_keep)
    except OSError as error:
        raise UserError(
            f"cannot write the checkpoint {path}: {error.strerror}; earlier checkpoints are untouched; "
            "free some space or make the folder writable, then resume"
        ) from error


def load(path: str | os.PathLike) -> Checkpoint:
    """Reads a file that `save` wrote.

    Raises:
        UserError: the file is missing, cut short, no safetensors file, or not a checkpoint of this format version.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise UserError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            version = metadata.get("format_version")
            if version != FORMAT_VERSION:
                raise UserError(
                    f"checkpoint {path}: format_version is {version!r}, expected {FORMAT_VERSION!r}; "
                    + ("it was not saved by this trainer" if version is None else "use the release that wrote it")
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except UserError:
        raise
    except Exception as error:  # numpy's as well, for a dtype or a shape that it lacks
        raise UserError(
            f"checkpoint {path}: not a complete safetensors file ({error}); use an earlier one, "
            "or, for weights of another program, drop --resume"
        ) from error
    optimizer, training, evaluation = (
        {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        for prefix in _PREFIXES
    )
    own = {name: array for name, array in tensors.items() if not name.startswith(_PREFIXES)}
    cursor, meta = _cursor(metadata, path), _content(metadata, "meta", path)
    return Checkpoint(path, own, optimizer, training, evaluation, cursor, meta)


def _content(metadata: dict[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        content = json_text.parse(metadata.get(key, ""), unique=True)
    except ValueError as error:
        raise UserError(f"checkpoint {path}: its {key} is no JSON ({error}); use an earlier one") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path}: its {key} is a {type(content).__name__}, expected an object")
    return content


def _cursor(metadata: dict[str, str], path: Path) -> dict[str, int]:
    cursor = _content(metadata, "cursor", path)
    fits = all(type(value) is int and 0 <= value < 2**53 for value in cursor.values())
    if cursor.keys() != {"epoch", "step"} or not fits:
        raise UserError(
            f"checkpoint {path}: its cursor is {str(cursor)[:80]}, expected epoch and step, 0 or more; "
            "use an earlier one"
        )
    return cursor


def is_own(path: str | os.PathLike) -> bool:
    """Whether `path` is a file that `save` wrote, in this or another format version, and complete."""
    try:
        with open(path, "rb") as file:
            if not is_safetensors(file.read(16)):
                return False
        with safe_open(path, framework="numpy") as file:
            return "format_version" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: HasState | None = None) -> None:
    """Puts the checkpoint's arrays into the model and, where given, the optimizer; frozen parameters stay frozen.

    Raises:
        UserError: names, dtypes or shapes differ; lists all (Jittor's own loading ignores them), changes nothing. A
            tensor is not finite; names the first one.
    """
    expected = {
        name: (str(parameter.dtype), tuple(parameter.shape))
        for name, parameter in model.named_parameters()
        if not is_bookkeeping(name)
    }
    weights = {name: array for name, array in checkpoint.model.items() if not is_bookkeeping(name)}
    mismatch = describe_mismatch(expected, weights)
    if mismatch:
        raise UserError(f"checkpoint {checkpoint.path} does not fit the model: {mismatch}")
    check_finite(weights, f"checkpoint {checkpoint.path}")
    if optimizer is not None:
        if not checkpoint.optimizer:
            raise UserError(
                f"checkpoint {checkpoint.path} has weights alone, as the best ones of a run have: start from them "
                "without --resume, or resume from a checkpoint of the run's work dir"
            )
        check_finite(checkpoint.optimizer, f"checkpoint {checkpoint.path}, the optimizer's state")
        optimizer.load_state_dict(checkpoint.optimizer)
    put(weights, model)


def put(weights: dict[str, np.ndarray], model: nn.Module) -> None:
    """Uploads the parameters named; frozen ones stay frozen."""
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.update(var(weights[name]))
    jt.sync_all()


def latest(work_dir: str | os.PathLike) -> Path | None:
    """The newest complete checkpoint of `work_dir`, or None where nothing was saved yet.

    Raises:
        UserError: ``last_checkpoint`` names a file that is not there.
    """
    pointer = Path(work_dir) / LAST_CHECKPOINT
    if not os.path.isfile(pointer):
        return None
    path = pointer.parent / pointer.read_text(encoding="utf-8").strip()
    if not os.path.isfile(path):
        raise UserError(f"{pointer} names {path}, which does not exist; give the checkpoint to resume from by its path")
    return path


def chosen(given: str | None, work_dir: Path, task: str) -> Path:
    """The weights that a task works with: the file that the user gives, or the work dir's latest checkpoint.

    Raises:
        UserError: neither is there; `task` says in one word what they are for.
    """
    path = given or latest(work_dir)
    if path is None:
        raise UserError(f"nothing to {task}: no checkpoint in {work_dir}; train first, or give one with --checkpoint F")
    return Path(path)


def _prune(path: Path, max_keep: int) -> None:
    pattern = re.compile(re.sub(r"\d+", r"\\d+", re.escape(path.name)))
    older = [file for file in path.parent.iterdir() if file != path and pattern.fullmatch(file.name)]
    older.sort(key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in older[max(max_keep - 1, 0) :]:
        file.unlink()
