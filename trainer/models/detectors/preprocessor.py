"""From a batch's bytes to a backbone's input: colour order, normalisation and zero padding, on the device."""

from __future__ import annotations

from trainer.device import jt, var
from trainer.models.registry import register, require


@register
class DetDataPreprocessor:
    """mmdet's DetDataPreprocessor for images that the feed has already padded to one size."""

    def __init__(
        self,
        mean: list[float],
        std: list[float],
        bgr_to_rgb: bool = False,
        pad_size_divisor: int = 32,
        where: str = "data_preprocessor",
    ) -> None:
        require(pad_size_divisor, 32, f"{where}.pad_size_divisor")
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
