"""Builds MMDetection data sets and reports what the server must know about them.

A data set is built by MMDetection's own registry from the user's config, unchanged, after the keys that are
UniDetector's have been taken out:

    class_agnostic   every label becomes 0 (stage 1); a COCO file's categories all count then, of whatever type the data
                     set is
    proposal_file    stage 1's boxes come along with every image (stage 2), see `data_server.datasets.proposals`; with
                     it go ``proposal_model`` and the pipeline's ``LoadProposals``.

A COCO file's categories all count, unless ``metainfo.classes`` names some. `shared.coco` says in which order their
labels are; `Part.classes` has the names by label.

Several data sets at once are nested in wrappers; each keeps its own classes, and an image carries the number of its
data set. That is kept here (`data_server.datasets.wrappers`) and not left to MMDetection's wrappers, which demand
equal classes.

Building runs once per stream, in the stream's nursery; the workers forked from it share its memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from numbers import Real
from pathlib import Path
from typing import Any

import mmdet.datasets  # noqa: F401 - fills the registry; mmdet's models stay out, they would need compiled operators
import numpy as np
import xxhash
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.utils import import_modules_from_strings

from data_server.datasets import annotated, indexed, proposals, wrappers
from data_server.datasets.annotated import Annotated, Fingerprint
from data_server.datasets.indexed import Indexed
from data_server.datasets.randomness import all_transforms
from data_server.files import regular
from data_server.files.index.cache import Index, index_of
from data_server.files.index.json_pieces import Unfit
from shared import coco
from shared.datasets import named_classes, parts_of
from shared.errors import UserError, described
from shared.image_ids import stream_ids
from shared.keys import nearest
from shared.terminal import write_line

_EMPTY = "need at least one array to concatenate"  # MMEngine's words for a data set without an image
_MOST_PIXELS = 2**31
_WRAPPERS = {  # and what does the same
    "MultiImageMixDataset": "give the data set that it draws from, with the transforms in its pipeline",
}
_AT_A_TIME = 1 << 14  # images that are looked at
# What MMDetection takes for a MiB of JSON, of COCO's train2017 (measured); with few polygons it is a third less memory.
_SECONDS_OF_ONE, _MEGABYTES_OF_ONE, _WORTH_A_WORD = 0.16, 8, 16
_NOTHING_LEFT = (
    "no image with boxes is left after filtering; check metainfo.classes and filter_cfg against the annotations"
)


class Part:
    """One MMDetection data set, its number in the stream and what precedes its last pipeline step.

    Attributes:
        transforms: the pipeline's, with those within others.
        in_hand: the index of the image that `results` was last at work on.
    """

    def __init__(
        self, config: dict[str, Any], dataset_id: int, *, training: bool, say: Callable[[str], None] = write_line
    ) -> None:
        config = dict(config)
        wrapper = str(config.get("type")).rpartition(".")[2]
        if wrapper in _WRAPPERS:
            raise UserError(f"a data set of type {wrapper!r} is not supported here; {_WRAPPERS[wrapper]}")
        self.dataset_id = dataset_id
        self.class_agnostic = bool(config.pop("class_agnostic", False))
        config.setdefault("test_mode", not training)
        wanted = proposals.Settings(config)
        annotations = _annotation_file(config)
        named = named_classes(config)
        if named is not None:
            config["metainfo"] = {**config["metainfo"], "classes": tuple(named)}
        self.dataset, categories = _build(config, annotations, named, self.class_agnostic, say)
        self.in_hand = 0
        self._begins: Callable[[str], None] | None = None
        if hasattr(self.dataset, "prepare_data"):
            self.dataset.prepare_data = self._noting(self.dataset.prepare_data)
        self.pack = _take_packing(self.dataset)
        self.transforms = all_transforms(self.dataset)
        self.boxes_are_unscaled = _loads_after_resizing(self.dataset.pipeline)
        self.annotation_file = annotations
        self.classes = list(self.dataset.metainfo.get("classes") or ())
        if categories:
            self.classes = [categories[identity] for identity in self.dataset.cat_ids]
            _check_classes(named, list(categories.values()), str(annotations))
        elif named is not None:
            _check_classes(named, list(dict.fromkeys(named)), _name(config, annotations))
        if len(self.dataset) == 0:
            raise UserError(f"{_name(config, annotations)}: {_NOTHING_LEFT}")
        self.proposals = proposals.Proposals(wanted, self.dataset, annotations) if wanted.wanted else None

    def __len__(self) -> int:
        return len(self.dataset)

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 (n,) and (n,): an image, and the label of one of its boxes, as MMDetection's `get_cat_ids` says."""
        if isinstance(self.dataset, Indexed):
            some = [(one.counts, one.labels) for one in self.all_annotated()]
            counts, labels = (np.concatenate(arrays) for arrays in zip(*some, strict=True))
        else:
            try:
                found = [self.dataset.get_cat_ids(index) for index in range(len(self))]
            except AttributeError:
                raise UserError(f"{self}: ClassBalancedDataset needs a data set with get_cat_ids") from None
            counts, labels = np.array([*map(len, found)]), np.concatenate([np.zeros(0, np.int64), *found])
        return np.repeat(np.arange(len(self)), counts), labels.astype(np.int64)

    def results(self, index: int, begins: Callable[[str], None] | None = None) -> dict[str, Any]:
        """What the pipeline has when it arrives at `PackDetInputs`: a dict with ``img`` (H,W,3) uint8 and the boxes.

        Where a transform rejects image `index`, MMDetection takes another, which `in_hand` then says.

        Args:
            begins: called with the path of every image before it is read.
        """
        self.in_hand, self._begins = index, begins
        return self.dataset[index]

    def _noting(self, prepare: Callable[[int], Any]) -> Callable[[int], Any]:
        """MMDetection's `prepare_data`, which it calls with each image that it tries."""

        def noted(index: int) -> Any:
            self.in_hand = index
            if self._begins is not None:
                self._begins(self.image_path(index))
            return prepare(index)

        return noted

    def image_path(self, index: int) -> str:
        """The file of image `index`, for messages."""
        if isinstance(self.dataset, Indexed):
            return self.dataset.image_path(index)
        return str(self.dataset.get_data_info(index).get("img_path", f"image {index} of data set {self.dataset_id}"))

    def picture(self, index: int) -> tuple[str, int, int]:
        """The file of image `index`, and the width and height that the annotations say; 0 where they do not."""
        if isinstance(self.dataset, Indexed):
            return self.dataset.image_path(index), *self.dataset.size(index)
        record = self.dataset.get_data_info(index)
        return record["img_path"], record.get("width", 0), record.get("height", 0)

    def annotated(self, start: int, stop: int) -> Annotated:
        """All that is annotated about images `start` to `stop`.

        Raises:
            UserError: an image has no size in pixels, or a box that is no box.
        """
        if isinstance(self.dataset, Indexed):
            some = self.dataset.annotated(start, stop)
        else:
            records = [self.dataset.get_data_info(index) for index in range(start, stop)]
            self._check(records, start)
            some = annotated.of_records(records)
        far = ~(np.abs(some.boxes).sum(1) < _MOST_PIXELS) & ~np.isnan(some.boxes).all(1)
        if far.any():
            image = int(np.searchsorted(np.cumsum(some.counts), np.argmax(far), side="right"))
            self._refuse_box(start + image, some.boxes[np.argmax(far)].tolist())
        return some

    def all_annotated(self) -> Iterator[Annotated]:
        """What is annotated about all images, in order, some at a time; raises as `annotated` does."""
        for start in range(0, len(self.dataset), _AT_A_TIME):
            yield self.annotated(start, min(start + _AT_A_TIME, len(self.dataset)))

    def _check(self, records: list[dict[str, Any]], start: int) -> None:
        for index, record in enumerate(records, start):
            sides = width, height = record.get("width", 0), record.get("height", 0)
            if not all(isinstance(side, Real) and 0 <= float(side) < _MOST_PIXELS for side in sides):
                raise UserError(
                    f"{self}: image {index} ({self.image_path(index)!r}) has width {str(width)[:40]!r} and height "
                    f"{str(height)[:40]!r}; expected numbers of pixels"
                )
            for box in (one.get("bbox") for one in record.get("instances", ())):
                if box is not None and not _is_finite(box):
                    self._refuse_box(index, box)

    def _refuse_box(self, index: int, box: Any) -> None:
        raise UserError(
            f"{self}: image {index} ({self.image_path(index)!r}) has a box {str(box)[:80]}; expected four finite "
            "numbers of pixels"
        )

    def __str__(self) -> str:
        return _name({"type": type(self.dataset).__name__}, self.annotation_file)


class Datasets:
    """All data sets of a stream under one index: end to end, or in the order of the wrappers around them.

    Attributes:
        parts: the data sets.
        proposals: the most that an image has; 0 where none are asked for.
        image_sizes: int64 (length, 2), width and height of each image.
        edges: of each data set, the longest side of an image and the longest of the shorter sides, in pixels; zeros
            where the annotations do not say all sizes.
        max_boxes: the most that an image has.
        fingerprint: of the annotations and proposals; it does not depend on where the files are.
    """

    def __init__(self, config: dict[str, Any], say: Callable[[str], None] = write_line) -> None:
        """Builds from the data part of a trainer's config (`shared.data_part`).

        Args:
            say: called with a line about what takes long.

        Raises:
            UserError: a file is missing or malformed, a class is unknown, or nothing is left after filtering.
        """
        DefaultScope.get_instance("unidetector", scope_name="mmdet")
        regular.guard()
        import_custom(config.get("custom_imports"))
        parts = enumerate(parts_of(config["dataset"]))
        self.parts = [Part(part, number, training=config["training"], say=say) for number, part in parts]
        with_proposals = [part.proposals is not None for part in self.parts]
        if any(with_proposals) and not all(with_proposals):
            raise UserError(
                f"data set {with_proposals.index(False)} (counted from 0) has no proposal_file, "
                f"data set {with_proposals.index(True)} has one; all of a ConcatDataset need one, or none"
            )
        # One number for the whole stream: the trainer compiles its kernels for it.
        self.proposals = max((part.proposals.most for part in self.parts if part.proposals is not None), default=0)
        self._ends = np.cumsum([len(part) for part in self.parts])
        self._order = wrappers.order_of(config["dataset"], self.parts)
        if self._order is not None and not config["training"]:
            raise UserError(
                "a data set that is evaluated has each image once; take it out of its RepeatDataset or "
                "ClassBalancedDataset"
            )
        self._by_id: np.ndarray | None = None
        self._look_through(config["training"])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._order is None else len(self._order)

    def locate(self, index: int) -> tuple[Part, int]:
        """The data set that holds image `index`, and the image's index there."""
        place = index if self._order is None else int(self._order[index])
        part = self.parts[int(np.searchsorted(self._ends, place, side="right"))]
        return part, place - self._start(part)

    def indices_of(self, part: Part) -> np.ndarray:
        """int64 (n,), where the images of a data set are, ascending."""
        start = self._start(part)
        if self._order is None:
            return np.arange(start, start + len(part))
        return np.flatnonzero((self._order >= start) & (self._order < start + len(part)))

    def image_id(self, part: Part, index: int) -> int:
        """What batches call image `index` of a data set, see `shared.image_ids`."""
        return int(self.image_ids[self._start(part) + index])

    def _start(self, part: Part) -> int:
        return int(self._ends[part.dataset_id]) - len(part)

    @property
    def sizes(self) -> list[int]:
        """How many images of each data set there are."""
        return [len(self.indices_of(part)) for part in self.parts]

    @property
    def is_mixed(self) -> bool:
        """Whether images of a data set stand among those of another."""
        return any(len(found) <= found[-1] - found[0] for found in map(self.indices_of, self.parts))

    @property
    def classes(self) -> list[list[str]]:
        """The names of each data set's classes by label."""
        return [part.classes for part in self.parts]

    def _look_through(self, training: bool) -> None:
        """Looks at all that is annotated, once."""
        self.max_boxes, fingerprint = 0, Fingerprint()
        self.edges: list[tuple[int, int]] = []
        sizes: list[np.ndarray] = []
        groups = []
        for part in self.parts:
            identities: list[Any] = []
            long = short = 0.0
            known = True
            for some in part.all_annotated():
                fingerprint.update(some)
                sizes.append(some.sizes.astype(np.int64))
                identities.append(some.identities)
                self.max_boxes = max(self.max_boxes, int(some.counts.max()))
                long, short = max(long, some.sizes.max()), max(short, some.sizes.min(1).max())
                known = known and bool(some.sizes.all())
            self.edges.append((math.ceil(long), math.ceil(short)) if known else (0, 0))
            groups.append(_joined(identities))
        self.image_sizes = np.concatenate(sizes)
        others = [part.proposals.fingerprint for part in self.parts if part.proposals is not None]
        if self._order is not None:
            self.image_sizes = self.image_sizes[self._order]
            others.append(xxhash.xxh3_64(self._order.data).digest())
        self.fingerprint = fingerprint.hexdigest(*others)
        # End to end. Predictions carry no dataset_ids, so what is judged needs ids that no two images share.
        self.image_ids = stream_ids(*groups) if training else stream_ids(_joined(groups))

    def located(self, image_ids: np.ndarray) -> list[tuple[Part, int]]:
        """The data set, and the index there, of each image that batches call so; not for training.

        Raises:
            UserError: there is no image of such a name.
        """
        if self._by_id is None:
            self._by_id = np.argsort(self.image_ids, kind="stable")
        places = np.searchsorted(self.image_ids, image_ids, sorter=self._by_id)
        found = self._by_id[np.minimum(places, len(self) - 1)]
        unknown = image_ids[self.image_ids[found] != image_ids]
        if len(unknown):
            raise UserError(f"predictions of image id {unknown[0]}, which no image of the stream has")
        return [self.locate(index) for index in found.tolist()]


def _joined(groups: list[Any]) -> Any:
    """Ids one after the other: int64 (n,), or where some are none a list."""
    if all(isinstance(group, np.ndarray) for group in groups):
        return np.concatenate(groups)
    return [one for group in groups for one in (group.tolist() if isinstance(group, np.ndarray) else group)]


def _is_finite(box: Any) -> bool:
    try:
        return bool(sum(map(abs, box)) < _MOST_PIXELS)  # neither NaN nor what is infinite is less
    except TypeError:
        return False


def _annotation_file(config: dict[str, Any]) -> str | None:
    name = config.get("ann_file")
    if not name:
        return None
    path = Path(config.get("data_root") or "") / name
    if not path.is_file():
        raise UserError(
            f"annotation file {str(path.absolute())!r}: no such file; "
            f"check data_root={config.get('data_root')!r} and ann_file={name!r}"
        )
    return str(path)


def _build(
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
            return DATASETS.build(ConfigDict(config)), {}
        dataset = DATASETS.build(ConfigDict({**config, "lazy_init": True}))
        if annotations and (index := _index(dataset, annotations, say)):
            categories = {one["id"]: one["name"] for one in index.columns.facts["categories"]}
            if named is None and (kind is CocoDataset or class_agnostic) and indexed.reads_by_coco(dataset):
                dataset._metainfo["classes"] = tuple(categories.values())
            indexed.put_over(dataset, index)
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
    except Exception as error:
        name = _name(config, annotations)
        if annotations and "Coco" in str(config.get("type", "")):
            known = [category["name"] for category in coco.read_strictly(annotations)["categories"]]
            _check_classes(named, known, annotations)
            if _EMPTY in str(error):
                raise UserError(f"{name}: {_NOTHING_LEFT}") from None
        raise UserError(f"{name}: MMDetection cannot build it: {described(error)}") from error
    if not categories and annotations:  # LVIS has a reader of its own, and counts every category
        categories = coco.categories(annotations)
    if wrong := [name for name in categories.values() if not isinstance(name, str)]:
        raise UserError(f"annotation file {annotations!r}: a category's name is {wrong[0]!r}; expected a text")
    return dataset, categories


def _index(dataset: Any, annotations: str, say: Callable[[str], None]) -> Index | None:
    """The index of a data set's file, which is made where there is none; None where MMDetection has to read it."""
    reason = indexed.refusal(dataset)
    if reason is None:
        try:
            index = index_of(Path(annotations), say)
            reason = indexed.lacks(dataset, index)
        except Unfit as error:
            reason = str(error)
        except OSError:  # who reads it next will say it
            return None
    if reason is None:
        return index
    size = Path(annotations).stat().st_size >> 20
    if size >= _WORTH_A_WORD:
        say(
            f"annotation file {annotations!r} is read by MMDetection itself, not from an index: {reason}; that takes "
            f"about {size * _SECONDS_OF_ONE:.0f} s and {size * _MEGABYTES_OF_ONE:,.0f} MiB of memory, at every start"
        )
    return None


def _name(config: dict[str, Any], annotations: str | None) -> str:
    return f"data set {config.get('type')!r}" + (f" of annotation file {annotations!r}" if annotations else "")


def _take_packing(dataset: Any) -> Any:
    """Takes the final PackDetInputs off the data set's pipeline: its work is done while writing into the slot."""
    pipeline = getattr(dataset, "pipeline", None)
    transforms = getattr(pipeline, "transforms", pipeline)
    if not transforms or type(transforms[-1]).__name__ != "PackDetInputs":
        last = type(transforms[-1]).__name__ if transforms else "nothing"
        raise UserError(
            f"data set {type(dataset).__name__}: its pipeline ends in {last}; "
            "expected PackDetInputs as the last transform"
        )
    return transforms.pop()


def _check_classes(named: list[str] | None, known: list[str], source: str) -> None:
    """Raises UserError when the config names a class that is not among the `known` ones, or more often than there."""
    for name, number in Counter(named or ()).items():
        if name not in known:
            raise UserError(
                f"annotation file {source!r} has no category {name!r}{nearest(name, known)}, "
                "which metainfo.classes of the config names"
            )
        if number > known.count(name):
            raise UserError(f"{source}: metainfo.classes names {name!r} {number} times; name it once")


def _loads_after_resizing(pipeline: Any) -> bool:
    """Whether boxes are loaded after the resizing, in the file's pixels, as MMDetection's test pipelines do."""
    names = [type(transform).__name__ for transform in getattr(pipeline, "transforms", pipeline)]
    resized = [place for place, name in enumerate(names) if "Resize" in name]
    return "LoadAnnotations" in names and bool(resized) and names.index("LoadAnnotations") > resized[-1]


def import_custom(custom: dict[str, Any] | None) -> None:
    """Imports the modules that ``custom_imports`` of a config names.

    Raises:
        UserError: one cannot be imported.
    """
    if custom:
        try:
            import_modules_from_strings(**custom)
        except Exception as error:
            raise UserError(f"config key 'custom_imports': {described(error)}") from error
