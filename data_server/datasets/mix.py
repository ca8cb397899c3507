"""Images of some data sets that are mixed with each other: MMDetection's MultiImageMixDataset around them.

    data sets        a (3 images)   b (2 images)     one MultiImageMixDataset around ConcatDataset(a, b)
    places in it     0 1 2          3 4              what is mixed into an image is drawn from all of these

It is drawn by the generators that are seeded for every sample, so a sample is a function of its image and its seed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Protocol

from mmdet.datasets import MultiImageMixDataset
from mmdet.datasets.transforms import Mosaic

from shared.datasets import MIXING, parts_of, wrapper_of
from shared.errors import UserError, described


class Member(Protocol):
    """A data set that may be mixed with others, `data_server.datasets.part.Part`."""

    dataset: Any
    classes: list[str]
    class_agnostic: bool

    def __len__(self) -> int: ...

    def join(self, mates: Sequence[Any], together: Together, start: int) -> None:
        """Mixes images of `mates`, which are `together`, into those of this one, which start there at `start`."""


def build(dataset: Any, settings: dict[str, Any]) -> Any:
    """MMDetection's MultiImageMixDataset around a data set.

    Raises:
        UserError: it cannot be built.
    """
    try:
        return MultiImageMixDataset(dataset=dataset, **settings)
    except Exception as error:
        raise UserError(f"data set {MIXING!r}: MMDetection cannot build it: {described(error)}") from error


def most(mix: Any) -> int:
    """Of how many images a sample is made, at most: Mosaic mixes in three, MixUp and CopyPaste one each, as any other,
    for all that is known; `mix` is a MultiImageMixDataset, or None."""
    mixing = [one for one in (mix.pipeline if mix else ()) if hasattr(one, "get_indexes")]
    return 1 + sum(3 if isinstance(one, Mosaic) else 1 for one in mixing)


class Together:
    """Data sets end to end, as MMDetection's ConcatDataset has them."""

    def __init__(self, parts: Sequence[Member]) -> None:
        self._parts = parts
        self.starts = [0, *accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Any:
        number = bisect_right(self.starts, index) - 1
        return self._parts[number].dataset[index - self.starts[number]]


def join(config: dict[str, Any], parts: Sequence[Member]) -> None:
    """Lets all data sets mix with each other that one MultiImageMixDataset of `config` is around.

    Raises:
        UserError: they have not the same classes.
    """
    for group in _groups(config, iter(parts)):
        for other in group[1:]:
            if (other.classes, other.class_agnostic) != (group[0].classes, group[0].class_agnostic):
                raise UserError(
                    f"data set {MIXING!r}: {group[0]} and {other} have not the same classes; put one around each"
                )
        together = Together(group)
        for part, start in zip(group, together.starts, strict=False):
            part.join(group, together, start)


def _groups(config: dict[str, Any], parts: Iterator[Member]) -> Iterator[list[Member]]:
    wrapper = wrapper_of(config)
    if wrapper is None:
        next(parts)
    elif wrapper == MIXING:
        yield [next(parts) for _ in parts_of(config["dataset"])]
    else:
        for inner in config["datasets"] if wrapper == "ConcatDataset" else [config["dataset"]]:
            yield from _groups(inner, parts)
