"""A config in MMDetection's own style, loaded and checked without importing torch.

The trainer's config is the single source of truth; the data server has none. `shared.data_part` cuts out what a stream
of batches depends on, and the trainer sends that in its HELLO. Where MMDetection has a key, its name and meaning are
kept; what is ours alone is the `feed` section, whose keys `shared.feed_keys` describes.

`shared.config_keys` says what becomes of every key of MMDetection's.

``source_ratio`` of a DefaultSampler, a number for each data set of a ConcatDataset, is the share that each has in an
epoch (default: every image is in it once; `data_server.serving.orders`).

Of stage 1's proposals, outside of `feed`: ``proposal_dir``, the folder that ``python -m trainer propose`` writes to
(default: the work dir's ``proposals``), and a data set's ``proposal_file``, that folder or one file, with
``LoadProposals`` in its pipeline (`data_server.datasets.proposals`). Relative paths are the data server's, as
``data_root``'s are.
"""

from __future__ import annotations

import argparse
import errno
import linecache
import os
import re
import traceback
from typing import Any

from mmengine.config import Config, DictAction

from shared.class_names import with_names
from shared.config_keys import SECTIONS, TOP_LEVEL, check_section, class_name
from shared.data_root import fill_in
from shared.errors import UserError, described
from shared.feed_keys import FEED_NAMES, check_feed, with_defaults
from shared.hook_keys import check_hooks
from shared.keys import check_keys, nearest
from shared.pipeline_switch import pipeline_switch
from shared.samplers import check_samplers
from shared.train_loop import TrainLoop
from shared.typing_errors import check_names
from shared.vis_backends import check_vis_backends

_IN_BRACES = re.compile(r"\{\{\s*_base_\.")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def add_arguments(parser: argparse.ArgumentParser, recipe: bool = False) -> None:
    """``--config`` and ``--cfg-options`` as MMDetection's tools have them; with `recipe`, ``--recipe`` in place of the
    first."""
    if recipe:
        one = parser.add_mutually_exclusive_group(required=True)
        one.add_argument("--config", help="path of a config file")
        one.add_argument("--recipe", help="path of a recipe: tasks that build on each other")
    else:
        parser.add_argument("--config", required=True, help="path of a config file")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_Overrides,
        default={},
        metavar="KEY=VALUE",
        help="settings to override, e.g. data_root=data/mine train_dataloader.batch_size=4",
    )


class _Overrides(argparse.Action):
    """MMDetection's own parser of KEY=VALUE, with a message where the original would recurse for ever."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except Exception:
            parser.error(
                f"--cfg-options {' '.join(values)}: expected KEY=VALUE with plain values or lists such as [1,2]"
            )


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """The config at `path` with `options` merged in, ``{data_root}`` filled in, and checked.

    Raises:
        UserError: the file is missing or no valid config, a section of ours has an unknown key, or ``{data_root}``
            stands somewhere and there is no `data_root`.
    """
    if not os.path.isfile(path):
        raise UserError(f"config {path!r}: no such file")
    try:
        # custom_imports are for the data server's workers; here they could pull torch into the trainer.
        config = with_names(Config.fromfile(path, import_custom_modules=False))
        config.merge_from_dict(options or {})
    except Exception as error:
        raise UserError(f"config {path!r}: {cause(error, path)}") from None
    complete(config)
    return config


def complete(config: Config) -> None:
    """Fills in what a config that has been read leaves to us, and checks it; raises UserError as `load_config` does."""
    if config.get("data_preprocessor") and isinstance(config.get("model"), dict):
        config.model.setdefault("data_preprocessor", config.data_preprocessor)  # as MMEngine's runner does
    fill_in(config)
    check(config)


def cause(error: Exception, path: str) -> str:
    """What MMEngine met when it read the file at `path`: in which line of it or of its bases, and what to do where more
    can be known."""
    text = described(error)
    if run := [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]:
        file, line = run[-1].filename, run[-1].lineno
        if isinstance(error, TypeError | AttributeError) and _IN_BRACES.search(_source(file)):
            text += "; {{_base_.key}} is a text as long as the file runs, write _base_.key to compute with it"
        return f"line {line}: {text}" if file == os.path.abspath(path) else f"{file} line {line}: {text}"
    if isinstance(error, OSError) and (error.errno in _DISK or "usable temporary directory" in text):
        return f"{text}; it is read by way of copies where temporary files go: free some space there, or set TMPDIR"
    return text


def _source(file: str) -> str:
    return "".join(linecache.getlines(file))


def check(config: Config) -> None:
    """Raises UserError naming the first key or value that cannot be honoured, with what to do about it."""
    check_names(config, config.text)
    for key in TOP_LEVEL:
        if key.name in config:
            key.check(key.name, config[key.name])
    for place, keys in SECTIONS.items():
        values: Any = config
        for part in place.split("."):
            values = (values or {}).get(part)
        check_section(place, values, keys)
    TrainLoop.of(config.get("train_cfg") or {})
    check_samplers(config)
    check_hooks(config)
    check_vis_backends(config)
    pipeline_switch(config)
    feed = config.get("feed") or {}
    if not isinstance(feed, dict):
        raise UserError(f"config key 'feed': expected a dict, found {type(feed).__name__}")
    check_keys("feed", feed, FEED_NAMES)
    check_feed(feed_settings(config))


def feed_settings(config: Config) -> dict[str, Any]:
    """The `feed` section with its defaults filled in."""
    return with_defaults(config.get("feed") or {})


def seed_of(config: Config) -> int:
    """``randomness.seed``, 0 where none is set."""
    return (config.get("randomness") or {}).get("seed") or 0


def deterministic(config: Config) -> bool:
    """``randomness.deterministic``: whether two runs have to be equal to the last bit."""
    return bool((config.get("randomness") or {}).get("deterministic"))


def cudnn_benchmark(config: Config) -> bool:
    """``env_cfg.cudnn_benchmark``, or the same at the top: whether cuDNN chooses its algorithms by stopwatch."""
    return bool((config.get("env_cfg") or {}).get("cudnn_benchmark") or config.get("cudnn_benchmark"))


def half_precision(config: Config) -> dict[str, str]:
    """What in `config` asks for half precision, ``optim_wrapper``, ``val_cfg.fp16`` or ``test_cfg.fp16``, and of which
    type: float16, or bfloat16."""
    wrapper = config.get("optim_wrapper") or {}
    trains = class_name(wrapper.get("type")) == "AmpOptimWrapper"
    asked = {"optim_wrapper": wrapper.get("dtype") or "float16"} if trains else {}
    evaluations = (f"{split}_cfg" for split in ("val", "test"))
    return asked | {f"{key}.fp16": "float16" for key in evaluations if (config.get(key) or {}).get("fp16")}


def section(config: Config, key: str) -> Any:
    """``config[key]``; raises UserError when the config has none."""
    if config.get(key) is None:
        raise UserError(f"config {config.filename!r} has no {key!r}{nearest(key, list(config.keys()))}")
    return config[key]


def box_head(model: Any) -> dict[str, Any]:
    """``roi_head.bbox_head`` of a config's ``model``; {} where there is none, or several, as in models of MMDetection
    that are not UniDetector's."""
    head = model
    for key in ("roi_head", "bbox_head"):
        head = head.get(key) if isinstance(head, dict) else None
    return head if isinstance(head, dict) else {}
