"""MMDetection's transforms that change a picture in a test pipeline, without MMDetection: the same pixels.

Each has a table of its keys and the values that they may have; `trainer.feed.pipeline` refuses all others by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image

from shared.errors import UserError
from shared.keys import COUNT, SWITCH, Values, one_of
from trainer.feed.loader import BadImage

Size = tuple[int, int]  # (w, h)
Ratio = tuple[float, float]  # of w and h


def _is_size(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(COUNT.accepts, value))


def _is_factor(value: object) -> bool:
    pair = value if isinstance(value, tuple) else (value, value) if isinstance(value, float) else ()
    return len(pair) == 2 and all(isinstance(one, int | float) and 0 < one < float("inf") for one in pair)


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _is_padding(value: object) -> bool:
    if isinstance(value, dict):
        colour = value.get("img", 0)
        return set(value) <= {"img", "seg", "masks"} and (
            _is_byte(colour) or (isinstance(colour, tuple) and len(colour) == 3 and all(map(_is_byte, colour)))
        )
    return _is_byte(value)


_SIZE = Values(_is_size, "a tuple (w, h) of whole numbers")
_SCALE = Values(lambda value: _is_size(value) or COUNT.accepts(value), "a whole number, or a tuple (w, h) of them")
_FACTOR = Values(_is_factor, "a float above 0, or a tuple of two")
_PADDING = Values(_is_padding, "0 to 255, or dict(img=0 to 255 or a tuple of three, seg=...)")
CV2_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
PILLOW_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
}
_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}


class Transform(ABC):
    """One step of a pipeline."""

    KEYS: ClassVar[dict[str, Values]]

    @classmethod
    def of(cls, step: dict[str, Any]) -> Transform:
        return cls(**step)

    @abstractmethod
    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Ratio | None]:
        """Another picture (h,w,3) from one (H,W,3), and its scale factors (w,h); None where they stay what they are.

        Raises:
            BadImage: a side would have no pixel; MMDetection fails there, too.
        """


@dataclass(frozen=True)
class Resize(Transform):
    """To a size, or with `keep_ratio` into a frame, or by a factor; see MMDetection's documentation."""

    KEYS: ClassVar[dict[str, Values]] = {
        "scale": _SCALE.or_none(),
        "scale_factor": _FACTOR.or_none(),
        "keep_ratio": SWITCH,
        "clip_object_border": SWITCH,
        "backend": one_of("cv2", "pillow").or_none(),
        "interpolation": one_of(*dict.fromkeys([*CV2_INTERPOLATION, *PILLOW_INTERPOLATION])),
    }
    ROUNDING: ClassVar[float] = 0.5  # added to a side before it is cut to a whole number

    scale: int | Size | None = None
    scale_factor: float | Ratio | None = None
    keep_ratio: bool = False
    clip_object_border: bool = True
    backend: str | None = "cv2"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.scale is None and self.scale_factor is None:
            raise UserError("neither scale nor scale_factor is given; give one of them")
        known = PILLOW_INTERPOLATION if self.backend == "pillow" else CV2_INTERPOLATION
        one_of(*known).check(f"interpolation of backend {self.backend!r}", self.interpolation)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Ratio | None]:
        return self.to_size(image, self.size(image.shape[1], image.shape[0]))

    def size(self, width: int, height: int) -> Size:
        """(w, h) that a picture of `width` and `height` gets."""
        if self.scale is None:
            both = self.scale_factor
            wanted = _scaled(width, height, both if isinstance(both, tuple) else (both or 1.0,) * 2, 0.5)
        else:
            wanted = self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale)
        return self.within(wanted, width, height) if self.keep_ratio else wanted

    def within(self, frame: Size, width: int, height: int) -> Size:
        """The size within a frame, whose longer side is for the longer side."""
        factor = min(max(frame) / max(width, height), min(frame) / min(width, height))
        return _scaled(width, height, (factor, factor), self.ROUNDING)

    def to_size(self, image: np.ndarray, size: Size) -> tuple[np.ndarray, Ratio]:
        """A picture of (w, h) pixels, and the factors that lead there."""
        height, width = image.shape[:2]
        if min(size) < 1:
            raise BadImage(f"{width}x{height} pixels cannot be resized to {size[0]}x{size[1]}")
        if size != (width, height):
            if self.backend == "pillow":
                picture = Image.fromarray(image).resize(size, PILLOW_INTERPOLATION[self.interpolation])
                image = np.array(picture)
            else:
                image = cv2.resize(image, size, interpolation=CV2_INTERPOLATION[self.interpolation])
        return image, (size[0] / width, size[1] / height)


@dataclass(frozen=True)
class FixScaleResize(Resize):
    """Resize that rounds down."""

    ROUNDING: ClassVar[float] = 0.0


@dataclass(frozen=True)
class ResizeShortestEdge(Transform):
    """The shorter side to a length, as far as the longer one stays within `max_size`."""

    KEYS: ClassVar[dict[str, Values]] = {
        **Resize.KEYS,
        "scale": _SCALE,
        "max_size": COUNT.or_none(),
        "resize_type": one_of("Resize", "mmdet.Resize", "mmcv.Resize", "FixScaleResize", "mmdet.FixScaleResize"),
    }

    resize: Resize
    shortest: int
    max_size: int | None

    @classmethod
    def of(cls, step: dict[str, Any]) -> ResizeShortestEdge:
        rest = dict(step)
        if "scale" not in rest:
            raise UserError("scale is missing; give the length of the shorter side")
        scale, most = rest["scale"], rest.pop("max_size", None)
        kind = rest.pop("resize_type", "Resize").rpartition(".")[2]
        resize = (FixScaleResize if kind == "FixScaleResize" else Resize)(**rest)
        return cls(resize, min(scale) if isinstance(scale, tuple) else scale, most)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Ratio | None]:
        height, width = image.shape[:2]
        wide, high = self._edges(width, height)
        size = int(wide + 0.5), int(high + 0.5)
        return self.resize.to_size(image, self.resize.within(size, width, height) if self.resize.keep_ratio else size)

    def _edges(self, width: int, height: int) -> Ratio:
        factor = self.shortest * 1.0 / min(height, width)
        high, wide = (self.shortest * 1.0, factor * width) if height < width else (factor * height, self.shortest * 1.0)
        if self.max_size and max(high, wide) > self.max_size:
            factor = self.max_size * 1.0 / max(high, wide)
            high, wide = high * factor, wide * factor
        return wide, high


@dataclass(frozen=True)
class Pad(Transform):
    """Pixels to the right and below; the scale factors stay."""

    KEYS: ClassVar[dict[str, Values]] = {
        "size": _SIZE.or_none(),
        "size_divisor": COUNT.or_none(),
        "pad_to_square": SWITCH,
        "pad_val": _PADDING,
        "padding_mode": one_of(*_BORDERS),
    }

    size: Size | None = None
    size_divisor: int | None = None
    pad_to_square: bool = False
    pad_val: int | dict[str, Any] = field(default_factory=dict)
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        if self.size is not None and (self.pad_to_square or self.size_divisor is not None):
            raise UserError("size goes with neither size_divisor nor pad_to_square; give one of them")
        if self.size is None and self.size_divisor is None and not self.pad_to_square:
            raise UserError("none of size, size_divisor and pad_to_square is given; give one of them")

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Ratio | None]:
        height, width = image.shape[:2]
        wide, high = self._size(width, height)
        colour = self.pad_val.get("img", 0) if isinstance(self.pad_val, dict) else self.pad_val
        value = colour if isinstance(colour, tuple) else (colour,) * 3
        padding = (0, max(high - height, 0), 0, max(wide - width, 0))
        return cv2.copyMakeBorder(image, *padding, _BORDERS[self.padding_mode], value=value), None

    def _size(self, width: int, height: int) -> Size:
        if self.size is not None:
            return self.size
        if self.pad_to_square:
            width = height = max(width, height)
        if self.size_divisor is not None:
            width, height = (-(-side // self.size_divisor) * self.size_divisor for side in (width, height))
        return width, height


@dataclass(frozen=True)
class FixShapeResize(Transform):
    """To `width` and `height`; with `keep_ratio` as far as the ratio allows, and padded."""

    KEYS: ClassVar[dict[str, Values]] = {
        **{key: values for key, values in Resize.KEYS.items() if key not in ("scale", "scale_factor")},
        "width": COUNT,
        "height": COUNT,
        "pad_val": _PADDING,
    }

    resize: Resize
    pad: Pad
    frame: Size

    @classmethod
    def of(cls, step: dict[str, Any]) -> FixShapeResize:
        rest = dict(step)
        if not {"width", "height"} <= set(rest):
            raise UserError("width and height are both needed; give them")
        frame = rest.pop("width"), rest.pop("height")
        pad = Pad(size=frame, pad_val=rest.pop("pad_val", 0))
        return cls(Resize(scale=frame, **rest), pad, frame)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Ratio | None]:
        if not self.resize.keep_ratio:
            return self.resize(image)
        height, width = image.shape[:2]
        ratio = min(self.frame[0] / width, self.frame[1] / height)
        size = self.resize.within(_scaled(width, height, (ratio, ratio), 0.5), width, height)
        image, _ = self.resize.to_size(image, size)
        return self.pad(image)[0], (ratio, ratio)


def _scaled(width: int, height: int, factor: Ratio, rounding: float) -> Size:
    return int(width * float(factor[0]) + rounding), int(height * float(factor[1]) + rounding)


RESIZING = {cls.__name__: cls for cls in (Resize, FixScaleResize, ResizeShortestEdge, FixShapeResize)}
CHANGING: dict[str, type[Transform]] = {**RESIZING, "Pad": Pad}
