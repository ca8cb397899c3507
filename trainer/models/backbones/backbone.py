"""What a backbone has to be: `Backbone` is the base of a user's own, `check` says before a batch what does not fit.

    model = dict(backbone=dict(type='my_backbone.TinyNet', width=16), ...)      a module's class and its keywords

Of what any backbone gives, the config says the same at other places, and both must agree:

    maps       f32 (B,C,h,w), fine to coarse     as many as the neck takes, or one without a neck
    C          of each map                       neck.in_channels; without a neck bbox_roi_extractor.out_channels
    H/h, W/w   of each map, rounded up           anchor_generator.strides, bbox_roi_extractor.featmap_strides

The arrays of a user's own are saved, averaged and trained under ``backbone.`` and the attributes that lead to them, as
Jittor finds them: not what is in lists, and no array whose name begins with an underscore.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import unknown
from trainer.device import jt, nn
from trainer.models.registry import CLASSES
from trainer.process import own_class

WHERE = "model.backbone"
_SIZE = (256, 320)  # of the image on which it is tried, or the next multiples of every stride


class Backbone(nn.Module):
    """Base class. The constructor gets the keys that stand beside ``type``.

    Attributes:
        computes_in_half: whether `execute` takes f16 and bf16, too, and gives maps of its images' type; False: f32
            only, in half precision as well.
    """

    computes_in_half = False

    def __init__(self) -> None: ...

    def execute(self, images: jt.Var) -> list[jt.Var]:
        """Images f32 (B,3,H,W) -> maps f32 (B,C,h,w), fine to coarse."""
        raise NotImplementedError

    def stages(self) -> list[nn.Module]:
        """What `freeze` counts: the stem, then stage by stage."""
        return []

    def freeze(self, frozen_stages: int) -> None:
        """Of `stages`, -1 freezes none, 0 the stem, n the stem and the first n behind it; for the constructor's end.

        Raises:
            UserError: there are not as many.
        """
        stages = self.stages()
        if frozen_stages not in range(-1, len(stages)):
            raise UserError(
                f"{WHERE}.frozen_stages: -1 to {len(stages) - 1} is expected, found {frozen_stages!r}; "
                f"{own_class.title(type(self))}.stages gives {len(stages)}"
            )
        for stage in stages[: frozen_stages + 1]:
            for parameter in stage.parameters():
                parameter.stop_grad()


def bring_in(model: Any) -> None:
    """Makes the class of a config's ``model.backbone`` known to the registry, where it is the user's own.

    Raises:
        UserError: it cannot be imported or is no Backbone; its name has no module and is none of ours.
    """
    config = model.get("backbone") if isinstance(model, dict) else None
    if not isinstance(config, dict) or "type" not in config:
        return  # the registry says what is missing
    name = class_name(config["type"])
    if "." in name:
        CLASSES[name] = own_class.find(WHERE, name, Backbone)
    elif name not in CLASSES:
        raise UserError(f"{unknown(WHERE, 'type', name, CLASSES)}; write one of your own as 'module.Class'")


def check(backbone: nn.Module, model: Mapping[str, Any], divisors: set[int]) -> None:
    """Compares a backbone with the config's `model`, of which the rest has been built. Shapes are all that is looked
    at, and nothing is computed.

    Args:
        divisors: the sides of every batch are multiples of one of them.

    Raises:
        UserError: the first thing that does not fit.
    """
    title = f"{WHERE}: {class_name(model['backbone']['type'])}"
    if isinstance(backbone, Backbone):
        _check_names(backbone, title)
    strides = _strides(model)
    coarsest = max(max(some) for some in strides.values())
    size = tuple(int(math.ceil(length / coarsest) * coarsest) for length in _SIZE)
    shapes = _shapes(backbone, size, title)
    _check_channels([shape[1] for shape in shapes], model, title)
    _check_strides(shapes, strides, size, title)
    if model.get("neck"):
        for divisor in sorted(divisors):
            height, width = (max((length - 1) // divisor, 1) * divisor for length in _SIZE)  # odd, if may be
            _check_halves(_shapes(backbone, (height, width), title), (height, width), title)


def _check_names(backbone: Backbone, title: str) -> None:
    modules = backbone.named_modules()
    found = {id(one) for _, one in (*modules, *backbone.named_parameters())}
    for place, module in modules:
        if isinstance(module, nn.BatchNorm):
            raise UserError(
                f"{title}: {place} is a BatchNorm, whose running statistics would change in training; use "
                "trainer.models.layers.FixedBatchNorm, or a norm without statistics"
            )
        if isinstance(module, nn.Sequential):
            continue  # a list that Jittor looks into
        owner = f"{place}." if place else ""
        for name, value in vars(module).items():
            if any(id(one) not in found for one in _arrays(value)):
                raise UserError(
                    f"{title}: {owner}{name} has arrays that Jittor does not find: they would be "
                    "neither trained nor saved; put modules into attributes of their own or into nn.ModuleList, and "
                    "begin no array's name with an underscore"
                )


def _arrays(value: Any) -> Iterator[jt.Var | nn.Module]:
    """The arrays and modules in an attribute."""
    if isinstance(value, jt.Var | nn.Module):
        yield value
    elif isinstance(value, Mapping):
        yield from _arrays(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _arrays(one)


def _shapes(backbone: nn.Module, size: tuple[int, ...], title: str) -> list[tuple[int, ...]]:
    """The shapes (1,C,h,w) of its maps of an image of that size."""
    try:
        with jt.no_grad():
            maps = backbone(jt.zeros((1, 3, *size)))
    except Exception as error:
        said = own_class.told(error, type(backbone))
        raise UserError(f"{title} makes no maps of an image (1,3,{size[0]},{size[1]}): {said}") from error
    found = f"a {type(maps).__name__}"
    if isinstance(maps, list | tuple) and maps and all(isinstance(one, jt.Var) for one in maps):
        if all(str(one.dtype) == "float32" and len(one.shape) == 4 and one.shape[0] == 1 for one in maps):
            return [tuple(one.shape) for one in maps]
        found = " and ".join(f"{one.dtype} ({','.join(map(str, one.shape))})" for one in maps)
    raise UserError(
        f"{title} gives {found} for an image (1,3,{size[0]},{size[1]}); expected a list of maps float32 (1,C,h,w), "
        "fine to coarse"
    )


def _check_channels(found: list[int], model: Mapping[str, Any], title: str) -> None:
    if model.get("neck"):
        expected = {"neck.in_channels": list(model["neck"]["in_channels"])}
    else:
        extractor = model["roi_head"]["bbox_roi_extractor"]
        expected = {"roi_head.bbox_roi_extractor.out_channels": [extractor["out_channels"]]}
        if "rpn_head" in model:
            expected["rpn_head.in_channels"] = [model["rpn_head"]["in_channels"]]
    for key, channels in expected.items():
        if found != channels:
            raise UserError(f"{title} gives maps of {_listed(found)} channels; model.{key} says {_listed(channels)}")


def _strides(model: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    """What a config's keys say of the backbone's maps; less where not all are used."""
    found = {"roi_head.bbox_roi_extractor.featmap_strides": model["roi_head"]["bbox_roi_extractor"]["featmap_strides"]}
    if "rpn_head" in model:
        found["rpn_head.anchor_generator.strides"] = model["rpn_head"]["anchor_generator"]["strides"]
    maps = len(model["neck"]["in_channels"]) if model.get("neck") else 1
    return {key: strides[:maps] for key, strides in found.items()}


def _check_strides(
    shapes: list[tuple[int, ...]], expected: Mapping[str, Sequence[float]], size: tuple[int, ...], title: str
) -> None:
    for key, strides in expected.items():
        for number, ((*_, height, width), stride) in enumerate(zip(shapes, strides, strict=False)):
            if (height * stride, width * stride) != size:
                raise UserError(
                    f"{title} makes of {size[0]}x{size[1]} pixels a map {number} of {height}x{width}; "
                    f"model.{key}[{number}] says stride {stride}"
                )


def _check_halves(shapes: list[tuple[int, ...]], size: tuple[int, int], title: str) -> None:
    """The neck adds each map, twice as large, to the one before."""
    for number in range(1, len(shapes)):
        (*_, fine_height, fine_width), (*_, height, width) = shapes[number - 1 : number + 1]
        if (height, width) != ((fine_height + 1) // 2, (fine_width + 1) // 2):
            raise UserError(
                f"{title} makes of {size[0]}x{size[1]} pixels a map of {fine_height}x{fine_width} and behind it one of "
                f"{height}x{width}; expected half the size, rounded up (or a larger pad_size_divisor, in "
                "batch_augments size_divisor)"
            )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
