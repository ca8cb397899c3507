"""Weights that a model starts from, put into it: this trainer's own checkpoints, and files of other programs.

What a config may ask for, in the order in which it takes effect, the later over the earlier::

    init_cfg=dict(type='Pretrained', checkpoint=F, prefix=P)   of any part of ``model``, inner parts first
    load_from=F    (``--checkpoint F``)                        for the whole model

These are MMDetection's keys, with MMDetection's meaning: a file may fit in part, and what does not fit is listed by
name; only CLIP's vision transformer is refused where a tensor has another shape. A model that is evaluated must be
complete and a run that is resumed must be the same, so nothing may be missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config

from shared.errors import UserError
from shared.keys import check_keys, check_type
from trainer.device import nn
from trainer.weights import checkpoint, names
from trainer.weights.formats import file


def load(path: str | os.PathLike, model: nn.Module, say: Callable[[str], None], complete: bool) -> None:
    """Puts the weights of a file into the model; frozen parameters stay frozen, text embeddings those of the config.

    Args:
        path: a checkpoint of this trainer, or anything that `trainer.weights.formats.file` reads.
        model: changed in place, and only if nothing is raised.
        say: called with what was loaded, and every name that is missing, unexpected or misshapen.
        complete: whether every parameter of the model must be in the file.

    Raises:
        UserError: the file is not readable as weights, or nothing of it fits; a parameter is missing or misshapen
            with `complete`, or misshapen in CLIP's vision transformer; a checkpoint of this trainer that was saved from
            another model.
    """
    if checkpoint.is_own(path):
        checkpoint.restore(checkpoint.load(path), model)
        say(f"weights {path}: a checkpoint of this trainer")
        return
    source, arrays = names.ours(file.read(path))
    _put(path, source, arrays, model, say, complete)


def initialise(model: nn.Module, config: Config, say: Callable[[str], None]) -> None:
    """Loads what the config's ``init_cfg`` keys and ``load_from`` ask for.

    Raises:
        UserError: an ``init_cfg`` that is not of type 'Pretrained'; and see `load`.
    """
    for part, init in _parts(config.model, ""):
        where = f"model.{part}init_cfg"
        check_type(where, init.get("type"), ("Pretrained",))
        check_keys(where, init, ("type", "checkpoint", "prefix"))
        path = _local(init.get("checkpoint"), f"{where}.checkpoint")
        found = file.read(path)
        source, arrays = names.ours(found)
        if source:  # these have our names already, of the whole model
            arrays = {name: array for name, array in arrays.items() if name.startswith(part)}
        else:
            prefix = (init.get("prefix") or "").removesuffix(".")
            inside = f"{prefix}." if prefix else ""
            if inside and any(name.startswith(inside) for name in found):  # a prefix that names.ours has taken away
                arrays = found
            arrays = {
                part + name.removeprefix(inside): array for name, array in arrays.items() if name.startswith(inside)
            }
        _put(path, source, arrays, model, say, complete=False, part=part)
    if config.get("load_from"):
        load(_local(config.load_from, "load_from"), model, say, complete=False)


def _local(path: str | None, key: str) -> str:
    if not isinstance(path, str) or "://" in path:
        raise UserError(f"{key}={path!r}: expected the path of a file; nothing is downloaded, so fetch it first")
    return path


def _parts(section: dict, prefix: str) -> Iterator[tuple[str, dict]]:
    """(prefix of its parameters' names, init_cfg) of every part of a config's model that has one, inner parts first."""
    for key, value in section.items():
        if isinstance(value, dict) and key != "init_cfg":
            yield from _parts(value, f"{prefix}{key}.")
    if section.get("init_cfg"):
        yield prefix, section["init_cfg"]


def _put(
    path: str | os.PathLike,
    source: str,
    arrays: dict[str, np.ndarray],
    model: nn.Module,
    say: Callable[[str], None],
    complete: bool,
    part: str = "",
) -> None:
    """Into the parameters whose names begin with `part`."""
    parameters = [(name, tuple(one.shape)) for name, one in model.named_parameters() if name.startswith(part)]
    fit = names.fit(arrays, parameters)
    title = f"weights {Path(path)}" + (f" ({source})" if source else "")
    if not fit.weights and not source:
        prefix = _outer(arrays, parameters, title, part)
        if prefix:
            title += f" (names without {prefix!r})"
            arrays = {
                part + name.removeprefix(part + prefix): array
                for name, array in arrays.items()
                if name.startswith(part + prefix)
            }
            fit = names.fit(arrays, parameters)
    # A ViT differs from one of another patch or image size in two tensors: all others would fit, to no use.
    of_another_size = fit.misshapen and (complete or source == names.VIT)
    if not fit.weights or of_another_size or (complete and fit.missing):
        whose = f"the model's {part.removesuffix('.')}" if part else "the model"
        raise UserError(f"{title} do not fit {whose}: {fit.report}; use the config that they were made with")
    names.check_finite(fit.weights, title)
    checkpoint.put(fit.weights, model)
    say(f"{title}: {fit.report}")


def _outer(
    arrays: dict[str, np.ndarray], parameters: list[tuple[str, tuple[int, ...]]], title: str, part: str
) -> str | None:
    """The prefix without which weights of which nothing fits would fit; None without one."""
    found, expected = ([name.removeprefix(part) for name in some] for some in (arrays, dict(parameters)))
    prefixes = names.outer(found, expected)
    if len(prefixes) > 1:
        init_cfg = f"model.{part}init_cfg=dict(type='Pretrained', checkpoint=F, prefix={prefixes[0][:-1]!r})"
        raise UserError(
            f"{title} are of several models, under {', '.join(map(repr, prefixes))}; save one of them alone, or start "
            f"from it: {init_cfg}"
        )
    return prefixes[0] if prefixes else None
