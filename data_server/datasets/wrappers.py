"""In which order the images of nested data sets come in an epoch.

    ConcatDataset          the images of its data sets, one data set after the other
    RepeatDataset          those of its data set, ``times`` times
    ClassBalancedDataset   each image of its data set ceil(r) times in a row; r is the largest of its classes'
                           max(1, sqrt(oversample_thr / f)), f the share of images that the class is in ("LVIS: A
                           Dataset for Large Vocabulary Instance Segmentation", arXiv 1908.03195, section 4.3)
    MultiImageMixDataset   those of its data set, each mixed with others of them (`data_server.datasets.mix`)
    any other              its own images, in its order

    images, end to end     a0 a1 a2 b0 b1              of the data sets that hold them, `shared.datasets.parts_of`
    order                  0 1 2 0 1 2 3 4 4           ConcatDataset(RepeatDataset(a, 2), ClassBalancedDataset(b))

MMDetection has wrappers around the data sets for this, which hand an index on. Here it is an array, so that a stream
knows which data set and image is behind each index. Classes are told apart by name: two data sets may have others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.datasets import wrapper_of

Places = npt.NDArray[np.int64]


class Source(Protocol):
    """A data set that holds images."""

    classes: list[str]

    def __len__(self) -> int: ...

    def labels(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """int64 (n,) and (n,): an image, and the label of one of its boxes."""


def order_of(config: dict[str, Any], sources: Sequence[Source]) -> Places | None:
    """int64 (m,), the images of an epoch as places among those of all `sources`, end to end; None where each is there
    once, in that order.

    Args:
        config: a data set; its parts (`shared.datasets.parts_of`) are `sources`.
    """
    order = _order(config, iter(_end_to_end(sources)))
    return None if len(order) == sum(map(len, sources)) and (np.diff(order) == 1).all() else order


def by_class(sources: Sequence[Source], order: Places | None) -> list[Places]:
    """The images of an epoch, counted in its `order`, that each class is in, ascending; classes in the order in which
    the data sets name them."""
    image, of_class, classes = _classes(_end_to_end(sources))
    if order is not None:
        by_image = np.argsort(image, kind="stable")
        first, end = (np.searchsorted(image, order, side, by_image) for side in ("left", "right"))
        times = end - first
        row = np.arange(times.sum()) + np.repeat(first - np.cumsum(times) + times, times)
        image, of_class = np.repeat(np.arange(len(order)), times), of_class[by_image[row]]
    sizes = np.bincount(of_class, minlength=classes)
    return np.split(image[np.lexsort((image, of_class))], np.cumsum(sizes)[:-1])


def _end_to_end(sources: Sequence[Source]) -> list[tuple[int, Source]]:
    """Each with the place of its first image."""
    ends = np.cumsum([len(source) for source in sources])
    return [(int(end) - len(source), source) for end, source in zip(ends, sources, strict=True)]


def _classes(sources: Sequence[tuple[int, Source]]) -> tuple[Places, Places, int]:
    """Which images (by place) are of which classes (by number), each pair once, and how many classes there are."""
    numbers: dict[str, int] = {}
    images, classes = [], []
    for start, source in sources:
        rows, labels = source.labels()
        names = [*source.classes, *map(str, range(len(source.classes), int(labels.max(initial=-1)) + 1))]
        number = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
        image, of_class = np.unique(np.stack([rows + start, number[labels]]), axis=1)  # once, however many boxes
        images.append(image)
        classes.append(of_class)
    return np.concatenate(images), np.concatenate(classes), len(numbers)


def _order(config: dict[str, Any], sources: Iterator[tuple[int, Source]]) -> Places:
    wrapper = wrapper_of(config)
    if wrapper is None:
        start, source = next(sources)
        return np.arange(start, start + len(source))
    if wrapper == "ConcatDataset":
        return np.concatenate([_order(inner, sources) for inner in config["datasets"]])
    if wrapper == "MultiImageMixDataset":
        return _order(config["dataset"], sources)
    if wrapper == "RepeatDataset":
        return np.tile(_order(config["dataset"], sources), config["times"])
    within: list[tuple[int, Source]] = []
    inner = _order(config["dataset"], _noted(sources, within))
    return np.repeat(inner, _repeats(inner, within, config["oversample_thr"]))


def _noted(sources: Iterator[tuple[int, Source]], within: list[tuple[int, Source]]) -> Iterator[tuple[int, Source]]:
    for source in sources:
        within.append(source)
        yield source


def _repeats(inner: Places, sources: list[tuple[int, Source]], threshold: float) -> npt.NDArray[np.int64]:
    """int64 (len(inner),), how often each image comes."""
    image, of_class, classes = _classes(sources)
    times = np.bincount(inner, minlength=int(image.max(initial=0)) + 1)
    share = np.bincount(of_class, times[image], classes) / len(inner)
    with np.errstate(divide="ignore"):
        factor = np.maximum(1.0, np.sqrt(threshold / share))
    largest = np.ones(len(times))
    np.maximum.at(largest, image, factor[of_class])
    return np.ceil(largest[inner]).astype(np.int64)
