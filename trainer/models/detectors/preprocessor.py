"""From a batch's bytes to a backbone's input: colour order, normalisation and padding, on the device.

What a training step does to the whole batch afterwards is in `batch_augments`.
"""

from __future__ import annotations

from shared.errors import UserError
from shared.keys import check_number
from trainer.device import jt, var
from trainer.models.detectors.batch_augments import BatchFixedSizePad, build_all
from trainer.models.registry import register
from trainer.models.values import Count, Three, ThreePositives


@register
class DetDataPreprocessor:
    """mmdet's DetDataPreprocessor for images that the feed has already padded to one size.

    Attributes:
        pad_size_divisor: heights and widths of batches are multiples of it, as they come.
        batch_augments: what is done to batches in training, in this order.
        divisors: heights and widths of every batch are multiples of one of them, whatever is done to it.
    """

    # masks are not carried, and how data gets to the device is Jittor's
    WITHOUT_EFFECT = (*BatchFixedSizePad.WITHOUT_EFFECT, "boxtype2tensor", "non_blocking")

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
        self.batch_augments = build_all(batch_augments, f"{where}.batch_augments")
        self.divisors = {pad_size_divisor, *(augment.divisor for augment in self.batch_augments)}

    def __call__(self, images: jt.Var, image_shapes: jt.Var) -> jt.Var:
        """Normalise the content; the padding is `pad_value`.

        Args:
            images: u8 or f32 (B,H,W,3).
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
        return jt.ternary(content, normal, self.pad_value).stop_grad()
