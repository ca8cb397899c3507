"""Whether the parts of a model fit each other, by what the config says of each. `backbone.check` has compared the
backbone with what follows it; behind that stand

    neck          out_channels, num_outs     rpn_head.in_channels, one of anchor_generator.strides for each map;
                                             bbox_roi_extractor.out_channels, at most as many featmap_strides
    RoI features  out_channels x             shared_head, which halves them, or none
                  output_size²               bbox_head.in_channels x roi_feat_size²
    CLIP's ResNet layers                     the same for its two parts, backbone and shared_head

Without a neck there is one map, of the channels that bbox_roi_extractor.out_channels names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import UserError
from trainer.device import nn
from trainer.models.backbones.clip_backbone import CLIPResNet
from trainer.models.roi_heads.shared_heads.clip_res_layer import CLIPResLayer

_EXTRACTOR = "roi_head.bbox_roi_extractor"
_STRIDES = {f"{_EXTRACTOR}.featmap_strides": "at most ", "rpn_head.anchor_generator.strides": ""}


def check(detector: nn.Module, model: Mapping[str, Any]) -> None:
    """Compares the parts of a config's `model` that `detector` has been built from, but for the backbone.

    Raises:
        UserError: the first thing that does not fit.
    """
    if model.get("neck"):
        for part in ("rpn_head.in_channels", f"{_EXTRACTOR}.out_channels"):
            if part.split(".")[0] in model:
                _compare(model, part, _value(model, "neck.out_channels"), "neck.out_channels")
    for key, most in _STRIDES.items():
        if key.split(".")[0] in model:
            _check_strides(model, key, most)
    _check_roi_features(detector.roi_head.shared_head, model)
    _check_stages(detector)


def _check_strides(model: Mapping[str, Any], key: str, most: str) -> None:
    """The backbone's maps have been compared one by one; those that the neck adds are half of the one before."""
    strides = _value(model, key)
    neck = model.get("neck")
    maps, own = (neck["num_outs"], len(neck["in_channels"])) if neck else (1, 1)
    if len(strides) > maps or (len(strides) < maps and not most):
        why = "model.neck.num_outs" if neck else "there is no neck"
        raise UserError(
            f"model.{key} is {list(strides)}; expected {most}{maps} of them, one for each map of features ({why})"
        )
    for number in range(own, len(strides)):
        if strides[number] != 2 * strides[number - 1]:
            raise UserError(
                f"model.{key}[{number}] is {strides[number]}; expected {2 * strides[number - 1]}: the neck makes map "
                f"{number} of every second pixel of the one before"
            )


def _check_roi_features(shared_head: nn.Module, model: Mapping[str, Any]) -> None:
    """From the extractor through the shared head, if there is one, to the box head."""
    channels, size = (_value(model, f"{_EXTRACTOR}.{key}") for key in ("out_channels", "roi_layer.output_size"))
    source, halved = f"{_EXTRACTOR}.out_channels", f"{_EXTRACTOR}.roi_layer.output_size"
    if isinstance(shared_head, CLIPResLayer):
        if shared_head.in_channels != channels:
            raise UserError(
                f"model.roi_head.shared_head takes features of {shared_head.in_channels} channels, 16 times its width; "
                f"model.{source} is {channels}: they have to be the same"
            )
        channels, size = shared_head.out_channels, size // 2
        source, halved = "roi_head.shared_head gives 32 times its width", f"{halved}, halved by the shared_head"
    _compare(model, "roi_head.bbox_head.in_channels", channels, source)
    _compare(model, "roi_head.bbox_head.roi_feat_size", size, halved)


def _check_stages(detector: nn.Module) -> None:
    """What each half of CLIP's ResNet says of the other's stages decides nothing, so it has to be right."""
    backbone, shared_head = detector.backbone, detector.roi_head.shared_head
    both = isinstance(backbone, CLIPResNet) and isinstance(shared_head, CLIPResLayer)
    if both and backbone.layers != shared_head.layers:
        raise UserError(
            f"model.roi_head.shared_head.layers is {shared_head.layers}; expected {backbone.layers}, those of "
            "model.backbone.layers: they are the stages of one network"
        )


def _value(model: Mapping[str, Any], key: str) -> Any:
    value: Any = model
    for part in key.split("."):
        value = value[part]
    return value


def _compare(model: Mapping[str, Any], key: str, expected: int, source: str) -> None:
    found: int | Sequence[int] = _value(model, key)
    if found != expected:
        raise UserError(f"model.{key} is {found}; expected {expected} (model.{source})")
