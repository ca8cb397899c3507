"""The order of a dataloader's images in a config: its sampler, its batch sampler and what belongs to them.

    DefaultSampler             every image once an epoch; with our own ``source_ratio``, a share of each data set
    InfiniteSampler            again and again; a batch does not end where the data do
    ClassAwareSampler          all classes equally often
    MultiSourceSampler         of each data set of a ConcatDataset a fixed number of images at a time; in
    GroupMultiSourceSampler    GroupMultiSourceSampler they are all wide, or all high
    CustomSampleSizeSampler    of each data set of a ConcatDataset a fixed number of images in an epoch

`data_server.serving.orders` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.config_keys import (
    NOTHING,
    REFUSED,
    ConfigKey,
    Section,
    check_section,
    class_name,
    ignores,
    reads,
    refuses,
    types,
)
from shared.errors import UserError
from shared.keys import COUNT, SWITCH, Values, one_of
from shared.train_loop import TrainLoop

DEFAULT, GROUPED_SOURCES = "DefaultSampler", "GroupMultiSourceSampler"
SOURCES = ("MultiSourceSampler", GROUPED_SOURCES)
ENDLESS = ("InfiniteSampler", *SOURCES)
BY_DATA_SET = "MultiDataAspectRatioBatchSampler"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


RATIO = Values(
    lambda value: isinstance(value, list | tuple) and all(_is_number(one) and 0 <= one < 1e9 for one in value),
    "a list of numbers",
)
SIZES = Values(
    lambda value: (
        isinstance(value, list | tuple) and all(_is_number(one) and (one == -1 or 0 <= one < 1e9) for one in value)
    ),
    "a list of numbers, -1 for all",
)

_SEED = refuses("set randomness.seed", "seed", unless=NOTHING)
_ROUND_UP = ignores("ranks share the steps of one stream, and none is repeated for them", "round_up")
_SHUFFLE = reads("shuffle", "a new order every time (default: True)", SWITCH)
_DRAW = (
    reads("batch_size", "images in a draw, from all data sets", COUNT),
    reads("source_ratio", "the share of each data set of a ConcatDataset in a draw", RATIO),
    _SHUFFLE,
    *_SEED,
)
SAMPLERS: dict[str, Section] = {
    DEFAULT: (
        reads("shuffle", "a new order every epoch (default: in training)", SWITCH),
        reads("source_ratio", "the share of each data set of a ConcatDataset in an epoch", RATIO.or_none()),
        *_SEED,
        *_ROUND_UP,
    ),
    "InfiniteSampler": (_SHUFFLE, *_SEED),
    "ClassAwareSampler": (
        reads("num_sample_class", "images of a class in a row (default 1)", COUNT),
        *_SEED,
    ),
    "MultiSourceSampler": _DRAW,
    GROUPED_SOURCES: _DRAW,
    "CustomSampleSizeSampler": (
        reads("dataset_size", "images of each data set of a ConcatDataset in an epoch; -1: all", SIZES),
        reads("ratio_mode", "True: `dataset_size` are shares of the data sets' images", SWITCH),
        *_SEED,
        *_ROUND_UP,
    ),
}
SAMPLER: Section = (
    ConfigKey(
        "type",
        REFUSED,
        f"only {', '.join(SAMPLERS)}: use one of them (videos are not fed here)",
        types(*SAMPLERS),
    ),
)
NAMES = one_of(*SAMPLERS)
# by type, what cannot be left out: its name in a data part and in a config
_SOURCES = {"source_batch_size": "batch_size", "source_ratio": "source_ratio"}
_NEEDED = dict.fromkeys(SOURCES, _SOURCES) | {"CustomSampleSizeSampler": {"dataset_size": "dataset_size"}}

BATCH_SAMPLER: Section = (
    ConfigKey(
        "type",
        REFUSED,
        "only AspectRatioBatchSampler (no batch mixes wide and high images), MultiDataAspectRatioBatchSampler (nor "
        "several data sets) and BatchSampler: use one of them, or batch_sampler=None",
        types("AspectRatioBatchSampler", BY_DATA_SET, "BatchSampler"),
    ),
    reads(
        "drop_last",
        "True: what does not fill a batch is left out; else it is filled up. In training; default: False, True for "
        "MultiDataAspectRatioBatchSampler",
        SWITCH,
    ),
)
DATA_SETS: Section = (
    reads("num_datasets", "of the ConcatDataset", COUNT),
    reads("batch_size", "for each data set; here all the same, that of the dataloader", RATIO),
)


def sampler_of(dataloader: Mapping[str, Any]) -> str:
    """The type of its sampler, without a scope."""
    return class_name((dataloader.get("sampler") or {}).get("type", DEFAULT))


def check_samplers(config: Mapping[str, Any]) -> None:
    """Raises UserError for the first key or value of a sampler or batch sampler that cannot be honoured."""
    for split in ("train", "val", "test"):
        dataloader = config.get(f"{split}_dataloader") or {}
        place, kind = f"{split}_dataloader.sampler", sampler_of(dataloader)
        if split != "train" and kind != DEFAULT:
            raise _refusal(f"{place}.type", kind, "only DefaultSampler: what is evaluated has each image once")
        (named,) = SAMPLER
        named.check(f"{place}.type", kind)
        check_section(place, dataloader.get("sampler"), (named, *SAMPLERS[kind]))
        own = DATA_SETS if _batch_sampler_of(dataloader) == BY_DATA_SET else ()
        check_section(f"{split}_dataloader.batch_sampler", dataloader.get("batch_sampler"), (*BATCH_SAMPLER, *own))
        if split == "train":
            _check_training(config, dataloader)
        else:
            _check_evaluation(split, dataloader)


def _check_evaluation(split: str, dataloader: Mapping[str, Any]) -> None:
    batch_sampler = dataloader.get("batch_sampler") or {}
    for place, key, section in (
        ("", "drop_last", dataloader),
        ("batch_sampler.", "drop_last", batch_sampler),
        ("", "num_batch_per_epoch", dataloader),
    ):
        if section.get(key):
            raise _refusal(
                f"{split}_dataloader.{place}{key}",
                section[key],
                "every image is evaluated: remove it, or set the data set's `indices`",
            )


def _check_training(config: Mapping[str, Any], dataloader: Mapping[str, Any]) -> None:
    kind, sampler, place = sampler_of(dataloader), dataloader.get("sampler") or {}, "train_dataloader"
    if kind in ENDLESS and config.get("train_cfg") is not None and TrainLoop.of(config["train_cfg"]).by_epoch:
        raise _refusal(
            f"{place}.sampler.type",
            kind,
            "it never ends an epoch: set train_cfg=dict(type='IterBasedTrainLoop', max_iters=...), or DefaultSampler",
        )
    for key in _NEEDED.get(kind, {}).values():
        if key not in sampler:
            raise UserError(f"config key '{place}.sampler.{key}' is missing: {kind} needs it")
    if kind in SOURCES:
        shares(sampler["batch_size"], sampler["source_ratio"])
        if _groups(dataloader):
            raise _refusal(
                f"{place}.batch_sampler.type",
                dataloader["batch_sampler"].get("type"),
                f"{kind} makes batches of its own: set batch_sampler=None, and GroupMultiSourceSampler so that none "
                "mixes wide and high images",
            )
    _check_sizes(sampler)
    if _batch_sampler_of(dataloader) == BY_DATA_SET:
        _check_data_sets(kind, dataloader)
    if dataloader.get("drop_last") and dataloader.get("batch_sampler"):
        raise _refusal(f"{place}.drop_last", True, "where there is a batch_sampler, set its drop_last")
    if dataloader.get("num_batch_per_epoch") and (
        kind not in (DEFAULT, "InfiniteSampler") or sampler.get("source_ratio") is not None
    ):
        raise _refusal(
            f"{place}.num_batch_per_epoch",
            dataloader["num_batch_per_epoch"],
            "only with DefaultSampler or InfiniteSampler, and without source_ratio: use the data sets' `indices`",
        )


def _check_data_sets(kind: str, dataloader: Mapping[str, Any]) -> None:
    place, batch_sampler = "train_dataloader.batch_sampler", dataloader["batch_sampler"]
    if kind not in (DEFAULT, "InfiniteSampler"):
        raise _refusal(f"{place}.type", BY_DATA_SET, "only with DefaultSampler or InfiniteSampler: use one of them")
    for key in ("num_datasets", "batch_size"):
        if key not in batch_sampler:
            raise UserError(f"config key '{place}.{key}' is missing: {BY_DATA_SET} needs it")
    sizes, number = list(batch_sampler["batch_size"]), batch_sampler["num_datasets"]
    if sizes != [dataloader.get("batch_size")] * number:
        raise _refusal(
            f"{place}.batch_size",
            sizes,
            f"all batches of a run are of one size: give the dataloader's batch_size, {dataloader.get('batch_size')}, "
            f"{number} times",
        )


def _check_sizes(settings: Mapping[str, Any]) -> None:
    for some in settings.get("dataset_size") or () if not settings.get("ratio_mode") else ():
        if not isinstance(some, int):
            raise UserError(
                f"sampler.dataset_size has {some!r}: expected a whole number of images; set ratio_mode=True for shares"
            )


def _refusal(place: str, value: object, says: str) -> UserError:
    return UserError(f"config key '{place}' is {value!r}, which is not supported: {says}")


def _groups(dataloader: Mapping[str, Any]) -> bool:
    return _batch_sampler_of(dataloader) != "BatchSampler"


def _batch_sampler_of(dataloader: Mapping[str, Any]) -> str:
    return class_name((dataloader.get("batch_sampler") or {}).get("type", "BatchSampler"))


def shares(batch_size: int, ratio: Sequence[float]) -> list[int]:
    """Images of each data set in a draw of MultiSourceSampler, as MMDetection rounds them.

    Raises:
        UserError: a data set has none, over which MMDetection's would never end.
    """
    found = [int(batch_size * one / (sum(ratio) or 1)) for one in ratio]
    found[:1] = [batch_size - sum(found[1:])] if found else []
    if min(found, default=0) < 1:
        raise UserError(
            f"sampler.source_ratio is {list(ratio)}: of sampler.batch_size={batch_size} that is {found} images of the "
            "data sets, and each needs one at least; raise batch_size"
        )
    return found


def sampling(dataloader: Mapping[str, Any], split: str) -> dict[str, Any]:
    """What `check_samplers` has accepted, as plain data of a stream's data part."""
    kind, sampler = sampler_of(dataloader), dataloader.get("sampler") or {}
    batch_size, draw = dataloader["batch_size"], sampler.get("batch_size")
    ratio, sizes = sampler.get("source_ratio"), sampler.get("dataset_size")
    batch_sampler = dataloader.get("batch_sampler") or {}
    return {
        "sampler": kind,
        "shuffle": sampler.get("shuffle", kind != DEFAULT or split == "train"),
        # a draw of whole batches is of one group, and so is each of them
        "group_by_aspect_ratio": _groups(dataloader) or (kind == GROUPED_SOURCES and draw % batch_size == 0),
        "grouped_data_sets": batch_sampler.get("num_datasets"),
        "source_ratio": list(ratio) if ratio else None,
        "source_batch_size": draw,
        "num_sample_class": sampler.get("num_sample_class", 1),
        "dataset_size": list(sizes) if sizes else None,
        "ratio_mode": sampler.get("ratio_mode", False),
        "drop_last": bool(
            dataloader.get("drop_last") or batch_sampler.get("drop_last", _batch_sampler_of(dataloader) == BY_DATA_SET)
        ),
        "num_batch_per_epoch": dataloader.get("num_batch_per_epoch") or None,
    }


SAMPLING: dict[str, Values] = {
    "sampler": NAMES,
    "shuffle": SWITCH,
    "group_by_aspect_ratio": SWITCH,
    "grouped_data_sets": COUNT.or_none(),
    "source_ratio": RATIO.or_none(),
    "source_batch_size": COUNT.or_none(),
    "num_sample_class": COUNT,
    "dataset_size": SIZES.or_none(),
    "ratio_mode": SWITCH,
    "drop_last": SWITCH,
    "num_batch_per_epoch": COUNT.or_none(),
}


def check_sampling(part: Mapping[str, Any]) -> None:
    """Raises UserError unless the data part `part`, which came over the wire, has what its sampler needs."""
    for key, values in SAMPLING.items():
        values.check(f"data part of the config: {key!r}", part.get(key))
    kind = part["sampler"]
    for key in _NEEDED.get(kind, {}):
        if part[key] is None:
            raise UserError(f"data part of the config: {key!r} is missing; {kind} needs it")
    if kind in SOURCES:
        shares(part["source_batch_size"], part["source_ratio"])
    _check_sizes(part)
