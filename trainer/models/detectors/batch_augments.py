"""What training does to whole batches, on the device: MMDetection's ``data_preprocessor.batch_augments``.

    normalised images f32 (B,3,H,W), Batch ─► each of the list, in its order ─► images f32 (B,3,H',W'), Batch

The batch that comes out has boxes, proposals and content shapes in pixels of the images that come out.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from shared.batch import padded
from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import check_type
from trainer.batch import Batch
from trainer.device import jt, var
from trainer.models.registry import build, register
from trainer.models.values import Count, TwoCounts


class BatchAugment(Protocol):
    """One of the list.

    Attributes:
        divisor: heights and widths that it makes are multiples of it.
    """

    divisor: int

    def __call__(self, images: jt.Var, batch: Batch) -> tuple[jt.Var, Batch]:
        """Images and batch as they are afterwards."""


def build_all(configs: list[dict] | None, where: str) -> list[BatchAugment]:
    """Those of a config.

    Raises:
        UserError: one is unknown, or has a key or value that cannot be honoured.
    """
    found = []
    for number, config in enumerate(configs or ()):
        place = f"{where}[{number}]"
        check_type(place, class_name(config.get("type")), _KINDS)
        found.append(build(config, place))
    return found


@register
class BatchFixedSizePad:
    """Pads below and to the right, where a batch is smaller than `size`, height and width."""

    WITHOUT_EFFECT = ("pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value")  # masks are not carried

    def __init__(self, size: TwoCounts, img_pad_value: float = 0) -> None:
        self._size, self._value = size, img_pad_value
        self.divisor = math.gcd(*size)

    def __call__(self, images: jt.Var, batch: Batch) -> tuple[jt.Var, Batch]:
        height, width = (max(pair) for pair in zip(images.shape[2:], self._size, strict=True))
        return _padded(images, height, width, self._value), batch


@register
class BatchSyncRandomResize:
    """Resizes to a height drawn for every `interval` steps, a multiple of `size_divisor`, and to the width that keeps
    the batch's shape; the first `interval` steps keep their size.

    What is drawn depends on the run's seed and the step alone, so it is the same in a resumed run and for all ranks.
    MMDetection draws from the process and takes the shape of the batch at which it draws, in the first steps the size
    of the first batch: the same where all batches are of one size, as YOLOX's are.
    """

    def __init__(
        self, random_size_range: TwoCounts, interval: Count = 10, size_divisor: Count = 32, where: str = ""
    ) -> None:
        least, most = random_size_range
        self._least, self._most = round(least / size_divisor), round(most / size_divisor)
        if not 1 <= self._least <= self._most:
            raise UserError(
                f"{where}.random_size_range is {random_size_range!r}; expected (smallest, largest), which are "
                f"{self._least} and {self._most} times size_divisor={size_divisor}"
            )
        self._interval, self.divisor = interval, size_divisor

    def size(self, seed: int, step: int, height: int, width: int) -> tuple[int, int]:
        """Height and width to which a batch of `height` and `width` is resized in the 0-based global `step`."""
        number = step // self._interval
        if number == 0:
            return height, width
        drawn = int(np.random.default_rng([seed, number]).integers(self._least, self._most, endpoint=True))
        return self.divisor * drawn, self.divisor * max(int(width / height * drawn), 1)

    def __call__(self, images: jt.Var, batch: Batch) -> tuple[jt.Var, Batch]:
        height, width = images.shape[2:]
        rows, columns = self.size(batch.seed, batch.step, height, width)
        if (rows, columns) == (height, width):
            return images, batch
        return resized(images, rows, columns), batch.scaled(columns / width, rows / height)


@register
class BatchResize:
    """Resizes to the largest size that is within `scale`, two sides in any order, and pads to multiples."""

    def __init__(self, scale: TwoCounts, pad_size_divisor: Count = 1, pad_value: float = 0) -> None:
        self._scale, self._value = sorted(scale), pad_value
        self.divisor = pad_size_divisor

    def __call__(self, images: jt.Var, batch: Batch) -> tuple[jt.Var, Batch]:
        sides = images.shape[2:]
        factor = self._scale[0] / min(sides)
        if factor * max(sides) > self._scale[1]:
            factor = self._scale[1] / max(sides)
        images = resized(images, *(round(side * factor) for side in sides))
        height, width = (padded(side, self.divisor) for side in images.shape[2:])
        return _padded(images, height, width, self._value), batch.scaled(factor, factor)


_KINDS = tuple(cls.__name__ for cls in (BatchFixedSizePad, BatchSyncRandomResize, BatchResize))


def resized(images: jt.Var, height: int, width: int) -> jt.Var:
    """Images f32 (B,C,H,W) as f32 (B,C,height,width), bilinear as torch's F.interpolate with align_corners=False: the
    places are those of pixels' centres, and nothing is averaged where it gets smaller. No gradient.

    Sizes are in arrays, not in the kernel, so another one needs no other kernel.
    """
    shape = [*images.shape[:2], height, width]
    above, below, down = _neighbours(images.shape[2], height)
    left, right, across = _neighbours(images.shape[3], width)
    across = across.broadcast(shape, [0, 1, 2])
    down = down.broadcast(shape, [0, 1, 3])

    def row(index: jt.Var) -> jt.Var:
        first, second = (
            images.reindex(shape, ["i0", "i1", "@e0(i2)", "@e1(i3)"], extras=[index, side]) for side in (left, right)
        )
        return first * (1 - across) + second * across

    return (row(above) * (1 - down) + row(below) * down).stop_grad()


def _neighbours(old: int, new: int) -> tuple[jt.Var, jt.Var, jt.Var]:
    """Of each of `new` pixels in a row: its two neighbours among the `old` ones, i32 (new,), and the second's share,
    f32 (new,), rounded as torch rounds it."""
    scale = np.float64(np.float32(old) / np.float32(new))  # product and difference are rounded once, as by an FMA
    place = np.maximum((np.arange(new) + 0.5) * scale - 0.5, 0).astype(np.float32)
    first = place.astype(np.int32)
    return var(first), var(np.minimum(first + 1, old - 1)), var(place - first, "float32")


def _padded(images: jt.Var, height: int, width: int, value: float) -> jt.Var:
    """Images f32 (B,C,H,W) as f32 (B,C,height,width), larger or equal."""
    if images.shape[2:] == [height, width]:
        return images
    shape = [*images.shape[:2], height, width]
    rows, columns = (
        var((np.arange(new) < old).astype(np.float32)).broadcast(shape, others)
        for new, old, others in zip((height, width), images.shape[2:], ([0, 1, 3], [0, 1, 2]), strict=True)
    )
    # Jittor writes an overflow_value such as 0.5 as C++ that does not compile.
    content = images.reindex(shape, ["i0", "i1", "i2", "i3"])
    return jt.ternary(rows * columns > 0, content, value).stop_grad()
