"""MMDetection's data set, built by its own registry from the user's config.

A COCO file is read into an index of ours (`data_server.files.index`), which the data set then takes its records from;
what the index cannot hold, and every other kind of data set, MMDetection reads itself. All of a COCO file's categories
count, unless ``metainfo.classes`` names some; `shared.coco` says in which order their labels are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmdet.datasets  # noqa: F401 - fills the registry; mmdet's models stay out, they would need compiled operators
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.utils import import_modules_from_strings

from data_server.datasets.indexed import coco as coco_way
from data_server.datasets.indexed import open_images, voc
from data_server.files import local_copies
from data_server.files.index.cache import Index, index_of
from data_server.files.index.json_pieces import Unfit
from data_server.machine.memory import MIB, available
from shared import coco, source
from shared.errors import UserError, described
from shared.keys import nearest
from shared.without import without

NOTHING_LEFT = (
    "no image with boxes is left after filtering; check metainfo.classes and filter_cfg against the annotations"
)
_JITTOR = ("jittor", "jittor_utils", "trainer.device")  # the last changes the process before it imports the others
_SCOPE = "unidetector"
_EMPTY = "need at least one array to concatenate"  # MMEngine's words for a data set without an image
# What MMDetection takes for a MiB of JSON, of COCO's train2017 (measured); with no polygons it is a third less memory.
_SECONDS_OF_ONE, _MEGABYTES_OF_ONE, _LEAST_OF_ONE, _WORTH_A_WORD = 0.16, 8, 5, 16


def build(
    config: dict[str, Any],
    annotations: str | None,
    named: list[str] | None,
    class_agnostic: bool,
    say: Callable[[str], None],
) -> tuple[Any, dict[Any, str]]:
    """MMDetection's data set, and the names of a COCO file's categories by id; none of another kind of file.

    Args:
        named: the classes that the config names; None: every category of a COCO file counts.
    """
    categories: dict[Any, str] = {}
    try:
        kind = DATASETS.get(str(config.get("type")))
        if not (isinstance(kind, type) and issubclass(kind, CocoDataset)):
            return _of_another_form(config, kind, annotations, say), {}
        dataset = DATASETS.build(ConfigDict({**config, "lazy_init": True}))
        if annotations and (index := _index(dataset, annotations, say)):
            categories = {one["id"]: one["name"] for one in index.columns.facts["categories"]}
            if named is None and (kind is CocoDataset or class_agnostic) and coco_way.reads_by_coco(dataset):
                dataset._metainfo["classes"] = tuple(categories.values())
            coco_way.put_over(dataset, index)
            dataset.full_init()
            return dataset, categories
        load = dataset.COCOAPI

        def read(path: str) -> Any:  # the file once, its categories in passing
            api = load(path)
            categories.update({identity: one["name"] for identity, one in api.cats.items()})
            if named is None and (kind is CocoDataset or class_agnostic):
                dataset._metainfo["classes"] = tuple(categories.values())
            return api

        dataset.COCOAPI = read
        dataset.full_init()
    except UserError:
        raise
    except Exception as error:
        name = name_of(config, annotations)
        if annotations and "Coco" in str(config.get("type", "")):
            known = [category["name"] for category in coco.read_strictly(annotations)["categories"]]
            check_classes(named, known, annotations)
            if _EMPTY in str(error):
                raise UserError(f"{name}: {NOTHING_LEFT}") from None
        raise UserError(f"{name}: MMDetection cannot build it: {described(error)}") from error
    if not categories and annotations:  # LVIS has a reader of its own, and counts every category
        categories = coco.categories(annotations)
    if wrong := [name for name in categories.values() if not isinstance(name, str)]:
        raise UserError(f"annotation file {annotations!r}: a category's name is {wrong[0]!r}; expected a text")
    return dataset, categories


def _of_another_form(config: dict[str, Any], kind: Any, annotations: str | None, say: Callable[[str], None]) -> Any:
    """MMDetection's data set of files that are not COCO's, over their index where there is a way."""
    for way in (open_images, voc):
        if annotations and isinstance(kind, type) and issubclass(kind, way.REFERENCE) and way.refusal(kind) is None:
            break
    else:
        return DATASETS.build(ConfigDict(config))
    dataset = DATASETS.build(ConfigDict({**config, "lazy_init": True}))
    try:
        way.put_over(dataset, say)
    except Unfit as error:
        if Path(annotations).stat().st_size >> 20 >= _WORTH_A_WORD:
            say(f"annotation file {annotations!r} is read by MMDetection itself, not from an index: {error}")
    except OSError:  # MMDetection will say it
        pass
    dataset.full_init()
    return dataset


def pipeline(steps: list[dict[str, Any]]) -> Compose:
    """A pipeline of MMDetection's transforms that is no data set's yet.

    Raises:
        UserError: it cannot be built.
    """
    try:
        return Compose([ConfigDict(step) for step in steps])
    except Exception as error:
        raise UserError(f"PipelineSwitchHook: MMDetection cannot build its pipeline: {described(error)}") from error


def _index(dataset: Any, annotations: str, say: Callable[[str], None]) -> Index | None:
    """The index of a data set's file, which is made where there is none; None where MMDetection has to read it.

    Raises:
        UserError: it has to, and there is not the memory for it.
    """
    reason = own_way = coco_way.refusal(dataset)
    if reason is None:
        try:
            index = index_of(Path(annotations), say)
            reason = coco_way.lacks(dataset, index)
        except Unfit as error:
            reason = str(error)
        except OSError:  # who reads it next will say it
            return None
    if reason is None:
        return index
    size, left = Path(annotations).stat().st_size >> 20, available() // MIB
    if own_way is None and size * _LEAST_OF_ONE > left:
        raise UserError(
            f"annotation file {annotations!r} cannot be indexed: {reason}; MMDetection's own reader takes at least "
            f"{size * _LEAST_OF_ONE:,.0f} MiB of memory for its {size:,.0f} MiB, {left:,.0f} MiB are available; "
            "correct the file, or use a larger machine"
        )
    if size >= _WORTH_A_WORD:
        say(
            f"annotation file {annotations!r} is read by MMDetection itself, not from an index: {reason}; that takes "
            f"about {size * _SECONDS_OF_ONE:.0f} s and {size * _MEGABYTES_OF_ONE:,.0f} MiB of memory at every start, "
            f"{left:,.0f} MiB are available"
        )
    return None


def with_local_files(config: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """A data set's config in which copies on this machine take the place of annotation files that lie in archives or
    behind addresses. What a backend of MMEngine's reads for another format than COCO's, it goes on reading itself.

    Raises:
        UserError: a file cannot be had.
    """
    config, backend = dict(config), config.get("backend_args")
    kind = DATASETS.get(str(config.get("type")))
    like_coco = isinstance(kind, type) and issubclass(kind, CocoDataset)
    if source.has_backend(backend) and not like_coco:
        return config
    for key, name in list(config.items()):
        if key.endswith("_file") and isinstance(name, str) and name:
            path = source.joined(config.get("data_root") or "", name)
            if (place := local_copies.local(path, backend)) != path:
                say(f"file {path!r} is read from a copy, {place}")
                config |= {key: place, "backend_args": None}
    return config


def annotation_file(config: dict[str, Any]) -> str | None:
    """The path of a data set's annotation file; None where it has none.

    Raises:
        UserError: it is not there.
    """
    name = config.get("ann_file")
    if not name:
        return None
    path = source.joined(config.get("data_root") or "", name)
    if source.is_remote(path, config.get("backend_args")):
        return path
    if not os.path.isfile(path):
        raise UserError(
            f"annotation file {os.path.abspath(path)!r}: no such file; "
            f"check data_root={config.get('data_root')!r} and ann_file={name!r}"
        )
    return str(Path(path))


def name_of(config: dict[str, Any], annotations: str | None) -> str:
    return f"data set {config.get('type')!r}" + (f" of annotation file {annotations!r}" if annotations else "")


def check_classes(named: list[str] | None, known: list[str], source: str) -> None:
    """Raises UserError when the config names a class that is not among the `known` ones, or more often than there."""
    for name, number in Counter(named or ()).items():
        if name not in known:
            raise UserError(
                f"annotation file {source!r} has no category {name!r}{nearest(name, known)}, "
                "which metainfo.classes of the config names"
            )
        if number > known.count(name):
            raise UserError(f"{source}: metainfo.classes names {name!r} {number} times; name it once")


def open_registries(custom: dict[str, Any] | None) -> None:
    """Has types looked up in MMDetection's registries, to which the modules that ``custom_imports`` of a config names
    may add theirs.

    Raises:
        UserError: one cannot be imported, also because it imports Jittor.
    """
    if not DefaultScope.check_instance_created(_SCOPE):  # MMEngine warns of a second time
        DefaultScope.get_instance(_SCOPE, scope_name="mmdet")
    if custom:
        try:
            with without(*_JITTOR):
                import_modules_from_strings(**custom)
        except Exception as error:
            # MMEngine says which module it is, Python why: the one is raised while the other is handled
            why = f" ({described(error.__context__)})" if error.__context__ else ""
            if isinstance(error.__context__, ImportError) and error.__context__.name in _JITTOR:
                why = (
                    ": it imports Jittor, and custom_imports are for the data server, which has none; take the module "
                    "out, and let the model name the class as 'module.Class'"
                )
            raise UserError(f"config key 'custom_imports': {described(error)}{why}") from error
