"""One data set of a stream: what MMDetection built, and what the server must know about it.

Of the config, these keys are UniDetector's and not MMDetection's:

    class_agnostic   every label becomes 0 (stage 1); a COCO file's categories all count then, of whatever type the data
                     set is
    proposal_file    stage 1's boxes come along with every image (stage 2), see `data_server.datasets.proposals`; with
                     it go ``proposal_model`` and the pipeline's ``LoadProposals``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from data_server.datasets import annotated, building, cached, mix, proposals
from data_server.datasets.annotated import Annotated
from data_server.datasets.cached import Caches
from data_server.datasets.indexed import Indexed
from data_server.datasets.randomness import all_transforms
from data_server.files import readers
from shared.datasets import MIXED, named_classes
from shared.errors import UserError
from shared.terminal import write_line

_MOST_PIXELS = 2**31
_NOT_CARRIED = {"with_mask": "masks", "with_seg": "semantic maps"}
# Of `PackDetInputs.meta_keys`: what a batch has, and what metrics get from the data set.
_CARRIED_META = {
    *("img_id", "img_path", "sample_idx", "ori_shape", "img_shape", "pad_shape", "scale_factor", "flip"),
    *("flip_direction", "instances", "image_level_labels"),
}
_AT_A_TIME = 1 << 14  # images that are looked at


class Part:
    """One MMDetection data set, its number in the stream and what precedes its last pipeline step.

    Attributes:
        mix: what mixes other images into each (`data_server.datasets.mix`), or None.
        transforms: of the pipelines, with those within others.
        in_hand: the index of the image that `results` was last at work on.
        begun: the paths of all images that it has read.
        switches: whether the last epochs have another pipeline.
        boxes_are_unscaled: whether the pipeline loads boxes after its resizing, in the file's pixels.
    """

    def __init__(
        self,
        config: dict[str, Any],
        dataset_id: int,
        *,
        training: bool,
        later: dict[str, Any] | None = None,
        say: Callable[[str], None] = write_line,
    ) -> None:
        """Builds the data set of `config`; `later` is what `shared.pipeline_switch` says about the last epochs."""
        readers.replace()
        config = building.with_local_files(config, say)
        mixed = config.pop(MIXED, None)
        self.dataset_id = dataset_id
        self.class_agnostic = bool(config.pop("class_agnostic", False))
        config.setdefault("test_mode", not training)
        wanted = proposals.Settings(config)
        annotations = building.annotation_file(config)
        named = named_classes(config)
        if named is not None:
            config["metainfo"] = {**config["metainfo"], "classes": tuple(named)}
        self.dataset, categories = building.build(config, annotations, named, self.class_agnostic, say)
        self.in_hand = 0
        self.begun: list[str] = []
        self._begins: Callable[[str], None] | None = None
        if hasattr(self.dataset, "prepare_data"):
            self.dataset.prepare_data = self._noting(self.dataset.prepare_data)
        self.mix: Any = mix.build(self.dataset, mixed) if mixed else None
        self._mates: Sequence[Part] = [self]
        self._place = 0  # of its first image among theirs
        if mixed and wanted.wanted:
            raise UserError(f"{building.name_of(config, annotations)}: proposals cannot follow images that are mixed")
        packing = getattr(self.mix or self.dataset, "pipeline", ())
        self.pack = _take_packing(f"data set {type(self.dataset).__name__}", packing)
        self.switches = later is not None
        self._pipelines, self._skipped = [self.dataset.pipeline] * 2, [(mixed or {}).get("skip_type_keys") or ()] * 2
        if later and "pipeline" in later:
            self._pipelines[1] = building.pipeline(later["pipeline"])
            _take_packing("PipelineSwitchHook", self._pipelines[1])
        elif later:
            self._skipped[1] = later["skip"]
        self._caches = [Caches(self.dataset, pipeline, self._note) for pipeline in self._pipelines]
        self.transforms = all_transforms([*self._pipelines, *(self.mix.pipeline if self.mix else ())])
        for line in _left_out(self.transforms, self.pack):
            say(f"{building.name_of(config, annotations)}: {line}")
        self.switch(False)
        self.annotation_file = annotations
        self.classes = list(self.dataset.metainfo.get("classes") or ())
        if categories:
            self.classes = [categories[identity] for identity in self.dataset.cat_ids]
            building.check_classes(named, list(categories.values()), str(annotations))
        elif named is not None:
            building.check_classes(named, list(dict.fromkeys(named)), building.name_of(config, annotations))
        if len(self.dataset) == 0:
            raise UserError(f"{building.name_of(config, annotations)}: {building.NOTHING_LEFT}")
        self.proposals = proposals.Proposals(wanted, self.dataset, annotations) if wanted.wanted else None

    def __len__(self) -> int:
        return len(self.dataset)

    def join(self, mates: Sequence[Part], together: mix.Together, start: int) -> None:
        """See `data_server.datasets.mix.Member`."""
        self._mates, self._place, self.mix.dataset = mates, start, together
        self.transforms += all_transforms([mate.dataset.pipeline for mate in mates if mate is not self])

    @property
    def blends(self) -> bool:
        """Whether a sample is made of several images."""
        return self.mix is not None or any(self._caches)

    @property
    def most(self) -> int:
        """Of how many images a sample is made, at most."""
        return mix.most(self.mix) * max(cached.most(self.steps(switched)) for switched in (False, True))

    def weigh(self, places: np.ndarray) -> None:
        """Says how often each image is in an epoch: int64 (n,), the places here of an epoch's images."""
        for caches in filter(None, self._caches):
            caches.places = places

    def misplaced_caches(self) -> list[Any]:
        """Transforms with a cache that are no step of a data set's own pipeline, so that it cannot be filled."""
        steps = [step for pipeline in self._pipelines for step in getattr(pipeline, "transforms", pipeline)]
        return [one for one in self.transforms if cached.is_cached(one) and one not in steps]

    def switch(self, switched: bool) -> None:
        """Makes the samples that follow by the pipeline of the last epochs, or by that of the first."""
        self.boxes_are_unscaled = _loads_after_resizing(self._pipelines[switched])
        self._filled = self._caches[switched]
        if self.switches:
            self.dataset.pipeline = self._pipelines[switched]
            if self.mix is not None:
                self.mix.update_skip_type_keys(self._skipped[switched])

    def steps(self, switched: bool) -> list[Any]:
        """The transforms that images go through, one after the other, in the last epochs or in the first."""
        pipeline, skipped = self._pipelines[switched], self._skipped[switched]
        mixing = zip(self.mix.pipeline_types, self.mix.pipeline, strict=False) if self.mix else ()
        return [*getattr(pipeline, "transforms", pipeline), *(step for kind, step in mixing if kind not in skipped)]

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 (n,) and (n,): an image, and the label of one of its boxes, as MMDetection's `get_cat_ids` says."""
        if isinstance(self.dataset, Indexed):
            some = [(one.counts, one.labels) for one in self.all_annotated()]
            counts, labels = (np.concatenate(arrays) for arrays in zip(*some, strict=True))
        else:
            try:
                found = [self.dataset.get_cat_ids(index) for index in range(len(self))]
            except AttributeError:
                raise UserError(f"{self}: images cannot be counted by class: there is no get_cat_ids") from None
            counts, labels = np.array([*map(len, found)]), np.concatenate([np.zeros(0, np.int64), *found])
        return np.repeat(np.arange(len(self)), counts), labels.astype(np.int64)

    def results(self, index: int, begins: Callable[[str], None] | None = None) -> dict[str, Any]:
        """What the pipeline has when it arrives at `PackDetInputs`: a dict with ``img`` (H,W,3) uint8 and the boxes.

        Where a transform rejects image `index`, MMDetection takes another, which `in_hand` then says.

        Args:
            begins: called with the path of every image before it is read.
        """
        begun: list[str] = []
        self.in_hand = index
        for mate in self._mates:
            mate._begins, mate.begun = begins, begun
        if self.mix is None:
            results: dict[str, Any] = self.dataset[index]
        else:
            results = self.mix[self._place + index]
            self.in_hand = results["sample_idx"]  # not that of the last image that was mixed in
        return results

    def _noting(self, prepare: Callable[[int], Any]) -> Callable[[int], Any]:
        """MMDetection's `prepare_data`, which it calls with each image that it tries."""

        def noted(index: int) -> Any:
            self.in_hand = index
            self._note(index)
            self._filled.fill()
            return prepare(index)

        return noted

    def _note(self, index: int) -> None:
        self.begun.append(self.image_path(index))
        if self._begins is not None:
            self._begins(self.begun[-1])

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
        if 4 * np.abs(some.boxes).max(initial=0) < _MOST_PIXELS:  # a sum over each box takes ten times as long
            return some
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
        return building.name_of({"type": type(self.dataset).__name__}, self.annotation_file)


def _is_finite(box: Any) -> bool:
    try:
        return bool(sum(map(abs, box)) < _MOST_PIXELS)  # neither NaN nor what is infinite is less
    except TypeError:
        return False


def _take_packing(owner: str, pipeline: Any) -> Any:
    """Takes the final PackDetInputs off a pipeline: its work is done while writing into the slot."""
    transforms = getattr(pipeline, "transforms", pipeline)
    if not transforms or type(transforms[-1]).__name__ != "PackDetInputs":
        last = type(transforms[-1]).__name__ if transforms else "nothing"
        raise UserError(f"{owner}: its pipeline ends in {last}; expected PackDetInputs as the last transform")
    return transforms.pop()


def _left_out(transforms: list[Any], pack: Any) -> Iterator[str]:
    """A line about each thing that a pipeline asks for and that no batch has."""
    for key, what in _NOT_CARRIED.items():
        if any(getattr(transform, key, False) for transform in transforms):
            yield (
                f"its pipeline loads {what}, which are not carried to the trainer; {key}=False saves the time, unless "
                "a transform needs them"
            )
    if unknown := [key for key in pack.meta_keys if key not in _CARRIED_META]:
        yield f"PackDetInputs.meta_keys names {', '.join(map(repr, unknown))}, not carried: nothing here reads it"


def _loads_after_resizing(pipeline: Any) -> bool:
    """Whether boxes are loaded after the resizing, in the file's pixels, as MMDetection's test pipelines do."""
    names = [type(transform).__name__ for transform in getattr(pipeline, "transforms", pipeline)]
    resized = [place for place, name in enumerate(names) if "Resize" in name]
    return "LoadAnnotations" in names and bool(resized) and names.index("LoadAnnotations") > resized[-1]
