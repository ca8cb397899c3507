"""A training or evaluation batch on the device: what the feed makes of one slot and every detector consumes.

`shared.batch` says which arrays a batch has and what is in them. The device gets all that a detector computes with,
under the same names and in the same shapes; the host keeps all that is small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shared.pictures import rounded
from trainer.device import jt, var

_LARGE = ("images", "proposals")


@dataclass
class Batch:
    """The device side of one slot, and the small arrays on the host; made by `from_arrays`.

    Attributes:
        images, boxes, box_counts, labels: as in `shared.batch`.
        image_shapes: as there, but float32.
        proposals, proposal_counts: as there; None where the config asks for none.
        host: the arrays as they came, but for images and proposals.
        step: the batch's place in the stream.
        seed: the stream's; with the step it decides what is drawn for the batch.
        valid: how many of the images count; the rest only fill the last batch of an epoch.
    """

    images: jt.Var
    image_shapes: jt.Var
    boxes: jt.Var
    box_counts: jt.Var
    labels: jt.Var
    proposals: jt.Var | None
    proposal_counts: jt.Var | None
    host: dict[str, np.ndarray]
    step: int
    seed: int
    valid: int

    def pictures(self) -> np.ndarray:
        """The images for people to look at, u8 (B,H,W,3)."""
        images: np.ndarray = self.images.numpy()
        return images if images.dtype == np.uint8 else rounded(images)

    def scaled(self, x: float, y: float) -> Batch:
        """The batch of the same images resized to `x` times their width and `y` times their height. `images` are
        those of before; content shapes are rounded down, as MMDetection rounds them."""
        sides = np.array([x, y, x, y], np.float32)
        host = {
            **self.host,
            "image_shapes": (self.host["image_shapes"] * (y, x)).astype(np.int32),
            "scale_factors": self.host["scale_factors"] * sides,
            "boxes": self.host["boxes"] * sides,
        }
        return dataclasses.replace(
            self,
            image_shapes=var(host["image_shapes"], "float32"),
            boxes=var(host["boxes"]),
            proposals=None if self.proposals is None else self.proposals * var(np.append(sides, np.float32(1))),
            host=host,
        )

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        images: jt.Var | None = None,
        step: int = 0,
        seed: int = 0,
        valid: int | None = None,
    ) -> Batch:
        """Uploads a batch; what it needs of `arrays` is copied before this returns.

        Args:
            arrays: those of `shared.batch`.
            images: the images, where they are on the device already.
            valid: how many of the images count, by default all.
        """
        return cls(
            images=var(arrays["images"]) if images is None else images,
            image_shapes=var(arrays["image_shapes"], "float32"),
            boxes=var(arrays["boxes"]),
            box_counts=var(arrays["box_counts"]),
            labels=var(arrays["labels"]),
            proposals=var(arrays["proposals"]) if "proposals" in arrays else None,
            proposal_counts=var(arrays["proposal_counts"]) if "proposals" in arrays else None,
            host={name: array.copy() for name, array in arrays.items() if name not in _LARGE},
            step=step,
            seed=seed,
            valid=len(arrays["image_ids"]) if valid is None else valid,
        )
