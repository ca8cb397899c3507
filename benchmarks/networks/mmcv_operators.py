"""mmcv's compiled operators (RoIAlign, NMS, soft-NMS), which the package itself does not bring.

Where they come from, the first that there is:

    RoIAlign, NMS    mmcv, if compiled (for CUDA, where that is asked for); torchvision
    soft-NMS         mmcv, if compiled: it runs on the CPU in any case

A compiled mmcv is one that is installed, or the wheel in $WHEELS_DIR.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

REPOSITORY = Path(__file__).resolve().parents[2]


class Uncompiled(types.ModuleType):
    """Stands where mmcv's compiled operators are missing: mmdet's modules import them by name, few call them."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise RuntimeError(f"mmcv has no compiled operator {name}")

        return missing


def unpack_wheel(target: Path) -> Path | None:
    """Unpacks the mmcv wheel of $WHEELS_DIR; returns `target`, to be put on PYTHONPATH, or None without a wheel."""
    folder = Path(os.environ.get("WHEELS_DIR", REPOSITORY.parent / "shared" / "wheels"))
    wheels = sorted(folder.glob("*mmcv*.whl"))
    if not wheels:
        return None
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extractall(target)
    return target


def stand_in() -> None:
    """Makes ``import mmdet.models`` possible where there are no compiled operators; to be called before it."""
    if importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")


def are_compiled() -> bool:
    """Whether mmcv's own can be called; after ``import mmdet.models``."""
    return not isinstance(sys.modules["mmcv._ext"], Uncompiled)


def choose(device: str) -> str | None:
    """Whose RoIAlign and NMS compute on `device`, ``mmcv`` or ``torchvision``; None where neither's do. From now on
    mmcv's NMS calls that one; RoIAlign has to be told (``use_torchvision``). After ``import mmdet.models``."""
    from mmcv.ops import get_compiling_cuda_version

    if are_compiled() and (device == "cpu" or get_compiling_cuda_version() != "not available"):
        return "mmcv"
    try:
        import torchvision
    except (ImportError, RuntimeError):  # not there, or made for another torch
        return None

    def suppress(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int) -> torch.Tensor:
        assert offset == 0, "boxes in pixels that have a width: torchvision has no such"
        return torchvision.ops.nms(boxes, scores, iou_threshold)

    sys.modules["mmcv.ops.nms"].ext_module.nms = suppress
    return "torchvision"
