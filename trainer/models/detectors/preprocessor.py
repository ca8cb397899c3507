"""From a batch's bytes to a backbone's input: colour order, normalisation and zero padding, on the device."""

from __future__ import annotations

from shared.keys import COUNT
from trainer.device import jt, var
from trainer.models.registry import register, require


@register
class DetDataPreprocessor:
    """mmdet's DetDataPreprocessor for images that the feed has already padded to one size.

    Attributes:
        pad_size_divisor: heights and widths of batches are multiples of it.
    """

    # masks are not carried, and how data gets to the device is Jittor's
    WITHOUT_EFFECT = ("pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value", "boxtype2tensor", "non_blocking")

    def __init__(
        self,
        mean: list[float],
        std: list[float],
        bgr_to_rgb: bool = False,
        pad_size_divisor: int = 1,
        pad_value: float = 0,
        rgb_to_bgr: bool = False,
        batch_augments: list[dict] | None = None,
        where: str = "data_preprocessor",
    ) -> None:
        COUNT.check(f"{where}.pad_size_divisor", pad_size_divisor)
        require(pad_value, 0, f"{where}.pad_value")
        require(rgb_to_bgr, False, f"{where}.rgb_to_bgr")
        require(batch_augments, None, f"{where}.batch_augments")
        self.pad_size_divisor = pad_size_divisor
        self.mean, self.std = var(mean, "float32").stop_grad(), var(std, "float32").stop_grad()
        self.channel = "2-i1" if bgr_to_rgb else "i1"

    def __call__(self, images: jt.Var, image_shapes: jt.Var) -> jt.Var:
        """Normalise the content, leave the padding 0.

        Args:
            images: u8 (B,H,W,3).
            image_shapes: f32 (B,2), height and width of the content.

        Returns:
            f32 (B,3,H,W), no gradient.
        """
        count, height, width, _ = images.shape
        shape = [count, 3, height, width]
        pixels = images.reindex(shape, ["i0", "i2", "i3", self.channel]).float32()
        normal = (pixels - self.mean.broadcast(shape, [0, 2, 3])) / self.std.broadcast(shape, [0, 2, 3])
        rows, columns = (image_shapes[:, axis].broadcast(shape, [1, 2, 3]) for axis in (0, 1))
        content = (jt.index(shape, 2).float32() < rows) & (jt.index(shape, 3).float32() < columns)
        return jt.ternary(content, normal, 0.0).stop_grad()
