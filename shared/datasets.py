"""A dataloader's ``dataset`` as a config has it: one data set of MMDetection's, or wrappers around some."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as short
from typing import Any

from shared import source
from shared.config_keys import class_name
from shared.errors import UserError, described
from shared.keys import COUNT, POSITIVE, Values, check_keys

_NOT_AT_INFERENCE = ("filter_cfg", "indices", "proposal_file", "proposal_model", "mixed")


# What a wrapper needs beside its data sets, and what it may have without an effect here.
_WRAPPERS: dict[str, dict[str, Values]] = {
    "ConcatDataset": {},
    "RepeatDataset": {"times": COUNT},
    "ClassBalancedDataset": {"oversample_thr": POSITIVE},
    "MultiImageMixDataset": {"pipeline": Values(lambda value: isinstance(value, list | tuple), "a list of transforms")},
}
REPEATING = ("RepeatDataset", "ClassBalancedDataset")  # an image may come more often than once in an epoch
MIXED = "mixed"  # in a part: the settings of the MultiImageMixDataset around it
MIXING = "MultiImageMixDataset"
_MIXED_KEYS = ("pipeline", "skip_type_keys", "max_refetch")
_ONLY_IN_TRAINING = {
    "RepeatDataset": "each image once",
    "ClassBalancedDataset": "each image once",
    MIXING: "images as they are",
}
_WITHOUT_EFFECT = ("lazy_init", "ignore_keys", "_scope_")
_FOR_ALL_WITHIN = ("class_agnostic",)


def wrapper_of(dataset: Mapping[str, Any]) -> str | None:
    """The type of a wrapper around other data sets, without a scope; None for a data set that holds images."""
    kind = str(dataset.get("type")).rpartition(".")[2]
    return kind if kind in _WRAPPERS else None


def parts_of(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """The data sets that hold the images, in the order in which the config has them. ``class_agnostic`` of a wrapper is
    that of all within that do not say it themselves. A data set in MultiImageMixDataset has its settings as `MIXED`.

    Raises:
        UserError: a wrapper lacks a key, or has one that it does not know.
    """
    wrapper = wrapper_of(dataset)
    if wrapper is None:
        return [dataset]
    inner = "datasets" if wrapper == "ConcatDataset" else "dataset"
    found: Any = dataset.get(inner)
    within = found if isinstance(found, list | tuple) and wrapper == "ConcatDataset" else [found]
    if not within or not all(isinstance(one, dict) for one in within):
        expected = "a list of data sets" if wrapper == "ConcatDataset" else "a data set, a dict"
        raise UserError(f"data set {wrapper!r}: {inner} is {short(found)}; expected {expected}")
    own = _MIXED_KEYS if wrapper == MIXING else _WRAPPERS[wrapper]
    check_keys(f"data set {wrapper!r}", dataset, ("type", inner, *own, *_FOR_ALL_WITHIN, *_WITHOUT_EFFECT))
    for key, values in _WRAPPERS[wrapper].items():
        values.check(f"data set {wrapper!r}: {key}", dataset.get(key))
    handed_on = {key: dataset[key] for key in _FOR_ALL_WITHIN if key in dataset}
    parts = [part for one in within for part in parts_of({**handed_on, **one})]
    if wrapper != MIXING:
        return parts
    if other := next((kind for kind in wrappers_within(within[0]) if kind != "ConcatDataset"), None):
        raise UserError(
            f"data set {wrapper!r} is around {other!r}; here it goes around data sets and ConcatDataset: put {other} "
            "around it"
        )
    mixed = {key: dataset[key] for key in _MIXED_KEYS if key in dataset}
    return [{**part, MIXED: mixed} for part in parts]


def wrappers_within(dataset: dict[str, Any]) -> Iterator[str]:
    """The kinds of a data set's wrappers, the outermost first."""
    wrapper = wrapper_of(dataset)
    if wrapper is not None:
        yield wrapper
        for one in dataset["datasets"] if wrapper == "ConcatDataset" else [dataset["dataset"]]:
            yield from wrappers_within(one)


def check_evaluated(dataset: Mapping[str, Any], where: str) -> None:
    """Refuses wrappers of which a metric would count an image more than once, or that mix images.

    Raises:
        UserError: `dataset`, whose place in the config is `where`, has such a wrapper.
    """
    wrapper = wrapper_of(dataset)
    if wrapper in _ONLY_IN_TRAINING:
        raise UserError(
            f"{where} has a {wrapper}, but what is evaluated has {_ONLY_IN_TRAINING[wrapper]}; give the data set within"
        )
    within = dataset.get("datasets") if wrapper else ()
    for one in within if isinstance(within, list | tuple) else ():
        if isinstance(one, Mapping):
            check_evaluated(one, where)


def whole(dataset: dict[str, Any], pipeline: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The config of a data set with all its images, in its order, as at inference: unfiltered and without proposals.

    Args:
        dataset: one, not several.
        pipeline: how images are prepared; None: by the data set's own pipeline.
    """
    steps = dataset.get("pipeline", ()) if pipeline is None else pipeline
    return {
        **{key: value for key, value in dataset.items() if key not in _NOT_AT_INFERENCE},
        "pipeline": [step for step in steps if class_name(step.get("type")) != "LoadProposals"],
        "test_mode": True,
    }


def with_data_root(dataset: dict[str, Any], data_root: str | None) -> dict[str, Any]:
    """A copy in which every data set has `data_root` that has none of its own, also those within others."""
    filled = dict(dataset)
    if "datasets" in filled:
        filled["datasets"] = [with_data_root(part, data_root) for part in filled["datasets"]]
    elif "dataset" in filled:
        filled["dataset"] = with_data_root(filled["dataset"], data_root)
    elif data_root is not None:
        filled.setdefault("data_root", data_root)
    return filled


def named_classes(dataset: Mapping[str, Any]) -> list[str] | None:
    """The names in ``metainfo.classes`` of a data set's config; None: it names none.

    A text is what it is to MMDetection: a file with a name a line if there is one (from the working directory), or else
    one name.

    Raises:
        UserError: ``metainfo`` or its classes are something else, or the file cannot be read.
    """
    metainfo, where = dataset.get("metainfo"), f"data set {dataset.get('type')!r}: metainfo"
    if metainfo is None:
        return None
    if not isinstance(metainfo, Mapping):
        raise UserError(f"{where} is {short(metainfo)}; expected a dict, metainfo=dict(classes=('cat', 'dog'))")
    if "classes" not in metainfo:
        meant = next((key for key in metainfo if get_close_matches(str(key).casefold(), ["classes"], cutoff=0.8)), None)
        if meant is not None:
            raise UserError(f"{where} has {meant!r}, which MMDetection does not read; write 'classes'")
        return None
    classes, where = metainfo["classes"], f"{where}.classes"
    if classes is None:
        return None
    if isinstance(classes, str):
        classes = _lines(classes, where) if _is_file(classes, where) else [classes]
    if not isinstance(classes, list | tuple):
        raise UserError(f"{where} is {short(classes)}; expected names, ('cat', 'dog'), or a file with a name a line")
    for place, name in enumerate(classes):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where}[{place}] is {short(name)}; expected a name, a text that is not empty")
    if not classes:
        raise UserError(f"{where} is empty; name a class, or leave it out and those of the data set count")
    return list(classes)


def _is_file(text: str, where: str) -> bool:
    if os.path.isfile(text):
        return True
    if text.endswith(".txt"):
        raise UserError(f"{where}={text!r}: there is no {str(Path(text).absolute())!r}; give the path from there")
    return False


def _lines(path: str, where: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{where}={path!r}: {described(error)}; expected a text file with a name a line") from None
    return [line.strip() for line in lines if line.strip()]


def told_apart(names: Sequence[str]) -> list[str]:
    """Names of data sets, with the place of those that are alike."""
    return [f"{name}_{number}" if names.count(name) > 1 else name for number, name in enumerate(names)]


def names_of(dataset: Any) -> str:
    """What the data sets of a config are called, in one line: their annotation files."""
    names = list(dict.fromkeys(_annotation_files(dataset, "")))
    return f"data set{'s' * (len(names) > 1)} {', '.join(names) or dataset['type']}"


def bytes_of(dataset: Any) -> int:
    """How large the annotation files of a config's data sets are together; one that is not there counts nothing."""
    return sum(os.path.getsize(name) for name in set(_annotation_files(dataset, "")) if os.path.isfile(name))


def _annotation_files(config: Any, root: str) -> Iterator[str]:
    if isinstance(config, dict):
        root = config.get("data_root") or root
        if isinstance(config.get("ann_file"), str):
            yield source.joined(root, config["ann_file"])
        for value in config.values():
            yield from _annotation_files(value, root)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _annotation_files(value, root)
