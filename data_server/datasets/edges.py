"""How large the images of a pipeline get, from its transforms' own settings.

Images lie either way round, so what is known of them is the most that their longer and their shorter edge measure; each
transform that changes sizes makes other edges of them, in the pipeline's order:

    Resize(scale=(1333, 800), keep_ratio=True)     1333, 800
    Resize(scale=(w, h), keep_ratio=False)         w, h
    Resize(scale_factor=f)                         f times as long
    RandomResize, RandomChoiceResize               the largest of their scales
    ResizeShortestEdge, FixShapeResize             what they say; where the first has no max_size nothing is known
    RandomCrop                                     what is cut out, at most
    RandomCenterCropPad, Pad, Expand, RandomAffine what they make of the edges before them
    Mosaic                                         twice img_scale
    RandomChoice, RandomApply, RandAugment, …      the largest that one of the ways through them yields

They lie as they did, unless a transform makes all of one shape (Resize without keep_ratio), or cuts some out so that
they may lie either way (RandomCrop, MinIoURandomCrop). They may as well where two ways through a pipeline differ in it.

Any other leaves an image's size as it is, a user's own too, as far as anybody can know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import singledispatch
from typing import Any, NamedTuple

from mmcv.transforms import Compose, KeyMapper, RandomApply, RandomChoice, RandomChoiceResize, RandomResize
from mmcv.transforms import Pad as AnyPad
from mmcv.transforms import Resize as AnyResize
from mmdet.datasets.transforms import (
    Expand,
    FixShapeResize,
    MinIoURandomCrop,
    Mosaic,
    ProposalBroadcaster,
    RandomAffine,
    RandomCenterCropPad,
    RandomCrop,
    ResizeShortestEdge,
)
from mmengine.dataset import Compose as Pipeline

from shared.batch import padded


class Lie(Enum):
    """How images lie: as in their files, all one way, or each either way."""

    KEPT = "kept"
    WIDE = "wide"
    HIGH = "high"
    EITHER = "either"


class Edges(NamedTuple):
    """The most pixels of an image's longer and of its shorter edge."""

    long: int
    short: int
    lie: Lie = Lie.KEPT

    @classmethod
    def of(cls, sizes: Iterable[tuple[float, float]], lie: Lie = Lie.KEPT) -> Edges:
        """Of images of these widths and heights."""
        some = [(max(size), min(size)) for size in sizes]
        return cls(math.ceil(max(long for long, _ in some)), math.ceil(max(short for _, short in some)), lie)

    @classmethod
    def fixed(cls, width: float, height: float) -> Edges:
        """Of images that are all of one shape; a square one fits beside images that lie any way."""
        lie = Lie.KEPT if width == height else Lie.WIDE if width > height else Lie.HIGH
        return cls.of([(width, height)], lie)

    @classmethod
    def largest(cls, some: Sequence[Edges]) -> Edges:
        """Of images of which each is as one of `some` says."""
        (lie, *others) = {one.lie for one in some}
        return cls.of(((one.long, one.short) for one in some), Lie.EITHER if others else lie)

    def turned(self, change: Callable[[int, int], tuple[float, float]]) -> Edges:
        """Of what `change` makes of the width and height of a wide image and of a high one."""
        wide, high = (self.long, self.short), (self.short, self.long)
        if self.lie in (Lie.WIDE, Lie.HIGH):
            return Edges.fixed(*change(*(wide if self.lie == Lie.WIDE else high)))
        return Edges.of([change(*wide), change(*high)], self.lie)

    def scaled(self, x: float, y: float) -> Edges:
        """Of images that are `x` times as wide and `y` times as high."""
        return self.turned(lambda width, height: (width * x, height * y))


Known = Edges | None  # None: of images whose size is known nowhere


def along(transforms: Any, edges: Known) -> Known:
    """What is left at the end of some transforms, one after the other."""
    for transform in transforms:
        edges = after(transform, edges)
    return edges


def _largest(ways: Iterable[Known]) -> Known:
    found = list(ways)
    known = [one for one in found if one is not None]
    return Edges.largest(known) if len(known) == len(found) else None


def _resized(scale: tuple[float, float], keep_ratio: bool, edges: Known) -> Edges:
    """To `scale`, a width and a height, or to the most that is within it."""
    return Edges.of([scale], edges.lie if edges else Lie.KEPT) if keep_ratio else Edges.fixed(*scale)


@singledispatch
def after(transform: Any, edges: Known) -> Known:  # noqa: ARG001 - of any other transform
    """The edges of images that have been through `transform`, those before it being `edges`."""
    return edges


@after.register(Compose)
@after.register(Pipeline)
@after.register(KeyMapper)
@after.register(ProposalBroadcaster)
def _(transform: Any, edges: Known) -> Known:
    return along(getattr(transform.transforms, "transforms", transform.transforms), edges)


@after.register
def _(transform: RandomChoice, edges: Known) -> Known:  # RandAugment and AutoAugment are some
    return _largest(after(one, edges) for one in transform.transforms)


@after.register
def _(transform: RandomApply, edges: Known) -> Known:
    return _largest([edges, along(transform.transforms.transforms, edges)])


@after.register
def _(transform: AnyResize, edges: Known) -> Known:
    if transform.scale is None:
        factors = transform.scale_factor
        x, y = factors if isinstance(factors, tuple) else (factors, factors)
        return edges and edges.scaled(x, y)
    return _resized(transform.scale, transform.keep_ratio, edges)


@after.register
def _(transform: FixShapeResize, edges: Known) -> Known:  # noqa: ARG001 - padded to it, or resized
    return Edges.fixed(transform.width, transform.height)


@after.register
def _(transform: RandomResize, edges: Known) -> Known:
    scales = transform.scale if isinstance(transform.scale, list) else [transform.scale]
    factor = max(transform.ratio_range or (1.0,))
    largest = [(int(width * factor), int(height * factor)) for width, height in scales]
    return _largest(_resized(scale, transform.resize.keep_ratio, edges) for scale in largest)


@after.register
def _(transform: RandomChoiceResize, edges: Known) -> Known:
    return _largest(
        _resized(scale, transform.resize.keep_ratio, edges)
        if isinstance(scale, tuple)
        else edges and edges.scaled(scale, scale)
        for scale in transform.scales  # a number is a factor
    )


@after.register
def _(transform: MinIoURandomCrop, edges: Known) -> Known:  # noqa: ARG001 - any part of it
    return edges and edges._replace(lie=Lie.EITHER)


@after.register
def _(transform: ResizeShortestEdge, edges: Known) -> Known:
    short = transform.scale if isinstance(transform.scale, int) else min(transform.scale)
    if transform.max_size:
        return _resized((transform.max_size, min(short, transform.max_size)), True, edges)
    return None


@after.register
def _(transform: RandomCrop, edges: Known) -> Known:
    within = _within(transform, edges)
    return within and within._replace(lie=Lie.EITHER)


def _within(transform: RandomCrop, edges: Known) -> Known:
    if transform.crop_type == "relative":
        x, y = transform.crop_size
        return edges and edges.turned(lambda width, height: (math.floor(width * x + 0.5), math.floor(height * y + 0.5)))
    if transform.crop_type == "relative_range":
        return edges
    width, height = transform.crop_size
    if transform.crop_type == "absolute_range":  # of both edges
        width = height = transform.crop_size[1]
    return edges.turned(lambda w, h: (min(w, width), min(h, height))) if edges else Edges.of([(width, height)])


@after.register
def _(transform: RandomCenterCropPad, edges: Known) -> Known:
    if transform.test_mode:
        mode, value = transform.test_pad_mode
        add = transform.test_pad_add_pix
        if mode == "logical_or":
            return edges and edges.turned(lambda width, height: ((width | value) + add, (height | value) + add))
        return edges and edges.turned(lambda width, height: (padded(width, value), padded(height, value)))
    factor = max(transform.ratios)
    height, width = transform.crop_size
    return Edges.fixed(int(width * factor), int(height * factor))


@after.register
def _(transform: AnyPad, edges: Known) -> Known:
    if edges is None:
        return None
    if transform.pad_to_square:
        edges = Edges(edges.long, edges.long)
    if transform.size is None:
        divisor = transform.size_divisor or 1
        return edges.turned(lambda width, height: (padded(width, divisor), padded(height, divisor)))
    return edges.turned(lambda width, height: (max(width, transform.size[0]), max(height, transform.size[1])))


@after.register
def _(transform: Expand, edges: Known) -> Known:
    most = max(1.0, *transform.ratio_range)
    return edges and edges.turned(lambda width, height: (int(width * most), int(height * most)))


@after.register
def _(transform: RandomAffine, edges: Known) -> Known:
    x, y = (2 * border for border in transform.border)
    return edges and edges.turned(lambda width, height: (width + x, height + y))


@after.register
def _(transform: Mosaic, edges: Known) -> Known:
    made = Edges.fixed(2 * transform.img_scale[0], 2 * transform.img_scale[1])
    return made if transform.prob == 1 else _largest([edges, made])
