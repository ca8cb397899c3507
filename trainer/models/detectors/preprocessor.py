"""From a batch's bytes to a backbone's input: colour order, normalisation and padding, on the device."""

from __future__ import annotations

from typing import Any

from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import COUNT, check_keys, check_number
from trainer.device import jt, var
from trainer.models.registry import register
from trainer.models.values import Count, Three, ThreePositives

_PAD = "BatchFixedSizePad"
_OF_MASKS = ("pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value")
_INSTEAD = {
    "BatchSyncRandomResize": "every size would compile the network again; write RandomResize into the pipeline",
    "BatchResize": "write Resize into the pipeline",
}


@register
class DetDataPreprocessor:
    """mmdet's DetDataPreprocessor for images that the feed has already padded to one size.

    Attributes:
        pad_size_divisor: heights and widths of batches are multiples of it.
    """

    # masks are not carried, and how data gets to the device is Jittor's
    WITHOUT_EFFECT = (*_OF_MASKS, "boxtype2tensor", "non_blocking")

    def __init__(
        self,
        mean: Three,
        std: ThreePositives,
        bgr_to_rgb: bool = False,
        pad_size_divisor: Count = 1,
        pad_value: float = 0,
        rgb_to_bgr: bool = False,
        batch_augments: list[dict] | None = None,
        where: str = "data_preprocessor",
    ) -> None:
        if bgr_to_rgb and rgb_to_bgr:
            raise UserError(f"{where}: bgr_to_rgb and rgb_to_bgr are both True; one of them is enough")
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = check_number(f"{where}.pad_value", pad_value, -1e6, 1e6)
        self.mean, self.std = var(mean, "float32").stop_grad(), var(std, "float32").stop_grad()
        self.channel = "2-i1" if bgr_to_rgb or rgb_to_bgr else "i1"
        self.least = _least_size(batch_augments, self.pad_value, f"{where}.batch_augments")

    def __call__(self, images: jt.Var, image_shapes: jt.Var, training: bool = False) -> jt.Var:
        """Normalise the content; the padding is `pad_value`.

        Args:
            images: u8 or f32 (B,H,W,3).
            image_shapes: f32 (B,2), height and width of the content.
            training: whether a batch is padded to the size of BatchFixedSizePad.

        Returns:
            f32 (B,3,H,W), no gradient.
        """
        count, height, width, _ = images.shape
        if training:
            height, width = max(height, self.least[0]), max(width, self.least[1])
        shape = [count, 3, height, width]
        pixels = images.reindex(shape, ["i0", "i2", "i3", self.channel]).float32()
        normal = (pixels - self.mean.broadcast(shape, [0, 2, 3])) / self.std.broadcast(shape, [0, 2, 3])
        rows, columns = (image_shapes[:, axis].broadcast(shape, [1, 2, 3]) for axis in (0, 1))
        content = (jt.index(shape, 2).float32() < rows) & (jt.index(shape, 3).float32() < columns)
        return jt.ternary(content, normal, self.pad_value).stop_grad()


def _least_size(augments: list[dict[str, Any]] | None, pad_value: float, where: str) -> tuple[int, int]:
    """Height and width that a batch in training has at least, as MMDetection's BatchFixedSizePad makes them.

    Raises:
        UserError: a batch is to be changed in any other way.
    """
    least = 0, 0
    for place, one in enumerate(augments or ()):
        kind = class_name(one.get("type"))
        if kind != _PAD:
            raise UserError(f"{where}[{place}] is {kind!r}, which is not supported: {_INSTEAD.get(kind, 'remove it')}")
        check_keys(f"{where}[{place}] ({_PAD})", one, ("type", "size", "img_pad_value", *_OF_MASKS, "_scope_"))
        size = one.get("size")
        if not (isinstance(size, list | tuple) and len(size) == 2 and all(map(COUNT.accepts, size))):
            raise UserError(f"{where}[{place}].size is {size!r}; expected (height, width)")
        if one.get("img_pad_value", 0) != pad_value:
            raise UserError(
                f"{where}[{place}].img_pad_value is {one.get('img_pad_value', 0)!r} and pad_value is {pad_value:g}; "
                "expected one value for all padding"
            )
        least = max(least[0], size[0]), max(least[1], size[1])
    return least
