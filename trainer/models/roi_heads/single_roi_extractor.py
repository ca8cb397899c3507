"""Features of RoIs, each from the one pyramid level that fits its size (mmdet's SingleRoIExtractor with RoIAlign)."""

from __future__ import annotations

from trainer.device import jt
from trainer.models.ops.roi_align import roi_align
from trainer.models.registry import read, register, require
from trainer.models.values import Count, Positive, Positives


@register
class SingleRoIExtractor:
    """RoIs of side finest_scale·2^l up to twice that come from level l.

    Attributes:
        levels: how many of the pyramid's maps are used, from the finest.
    """

    def __init__(
        self,
        roi_layer: dict,
        out_channels: Count,
        featmap_strides: Positives,
        finest_scale: Positive = 56,
        where: str = "bbox_roi_extractor",
    ) -> None:
        layer = read(roi_layer, f"{where}.roi_layer", ("type", "output_size"), sampling_ratio=0)
        require(layer["type"], "RoIAlign", f"{where}.roi_layer.type")
        require(layer["sampling_ratio"], 0, f"{where}.roi_layer.sampling_ratio")
        self.output_size = layer["output_size"]
        self.out_channels = out_channels
        self.strides = list(featmap_strides)
        self.finest_scale = float(finest_scale)
        self.levels = len(self.strides)

    def map_roi_levels(self, rois: jt.Var) -> jt.Var:
        """floor(log2(sqrt(w·h) / finest_scale + 1e-6)), at least 0 and at most the coarsest level.

        Args:
            rois: f32 (K,5).

        Returns:
            i32 (K,). RoIs with a negative side get some level; RoIAlign gives them zeros.
        """
        width, height = rois[:, 3] - rois[:, 1], rois[:, 4] - rois[:, 2]
        size = jt.sqrt(jt.maximum(width, 0.0) * jt.maximum(height, 0.0)) / self.finest_scale + 1e-6
        level = jt.zeros_like(size).int32()
        for exponent in range(1, self.levels):
            level = level + (size >= float(2**exponent)).int32()
        return level

    def __call__(self, maps: list[jt.Var], rois: jt.Var) -> jt.Var:
        """Features f32 (K,C,output_size,output_size) of `rois` f32 (K,5) (image index, box) from maps (B,C,h,w)."""
        return roi_align(maps[: self.levels], self.strides, rois, self.map_roi_levels(rois), self.output_size)
