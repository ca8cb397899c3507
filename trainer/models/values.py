"""What the keys of a model's parts may be: annotations of their constructors, which `registry.build` checks.

    def __init__(self, in_channels: Counts, out_channels: Count, loss_weight: Amount = 1.0, style: str = "pytorch")

A plain bool, int, float, str, dict or list accepts what its name says, anything else whatever there is. Keys that are
no constructor's but stand in a plain dict, as train_cfg and test_cfg do, are in `KEYS`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from shared.keys import COUNT, POSITIVE, SWITCH, Values, of_type


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _some(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0


def _list_of(one: Values, words: str, *lengths: int) -> Values:
    """Lists of what `one` accepts, of one of these lengths, or of any but 0."""
    return Values(
        lambda value: _some(value) and len(value) in (lengths or (len(value),)) and all(map(one.accepts, value)), words
    )


def _is_stages(value: Any) -> bool:
    return _some(value) and list(value) == [stage for stage in range(4) if stage in value]


_NUMBER = Values(_is_number, "a number")
_COUNT = Values(COUNT.accepts, "a whole number, 1 or more")
_INDEX = Values(lambda value: COUNT.accepts(value) or (value == 0 and type(value) is int), "a whole number, 0 or more")
_SHARE = Values(lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")

Count = Annotated[int, _COUNT]
EvenCount = Annotated[int, Values(lambda value: COUNT.accepts(value) and value % 2 == 0, "an even number, 2 or more")]
Counts = Annotated[Sequence[int], _list_of(_COUNT, "a list of whole numbers, each 1 or more")]
TwoCounts = Annotated[Sequence[int], _list_of(_COUNT, "two whole numbers, each 1 or more", 2)]
FourCounts = Annotated[Sequence[int], _list_of(_COUNT, "four whole numbers, each 1 or more", 4)]
FourIndices = Annotated[Sequence[int], _list_of(_INDEX, "four whole numbers, each 0 or more", 4)]
Stages = Annotated[Sequence[int], Values(_is_stages, "some of 0, 1, 2, 3, in order")]
Positive = Annotated[float, POSITIVE]
Positives = Annotated[Sequence[float], _list_of(POSITIVE, "a list of numbers above 0")]
ThreePositives = Annotated[Sequence[float], _list_of(POSITIVE, "three numbers above 0", 3)]
FourPositives = Annotated[Sequence[float], _list_of(POSITIVE, "four numbers above 0", 4)]
Three = Annotated[Sequence[float], _list_of(_NUMBER, "three numbers", 3)]
Four = Annotated[Sequence[float], _list_of(_NUMBER, "four numbers", 4)]
Share = Annotated[float, _SHARE]
Amount = Annotated[float, Values(lambda value: _is_number(value) and value >= 0, "a number, 0 or more")]

_DICT = of_type(Mapping, "a dict")
_PLAIN: dict[Any, Values] = {
    bool: SWITCH,
    int: Values(lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    float: _NUMBER,
    str: of_type(str, "a text"),
    dict: _DICT,
    list: Values(lambda value: isinstance(value, list | tuple), "a list"),
}

KEYS = {
    "nms": _DICT,
    "nms_pre": _COUNT,
    "max_per_img": _COUNT,
    "min_bbox_size": _NUMBER,
    "score_thr": _NUMBER,
    "iou_threshold": _SHARE,
    "sigma": POSITIVE,
    "min_score": _NUMBER,
    "split_thr": _COUNT,
    "output_size": _COUNT,
}


def accepted(annotation: Any) -> Values | None:
    """What a key with that annotation may be; None: anything."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return get_args(annotation)[1]
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        one = accepted(kinds[0]) if len(kinds) == 1 else None
        return one and one.or_none()
    return _PLAIN.get(origin or annotation)
