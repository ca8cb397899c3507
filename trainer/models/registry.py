"""Names in a config and the classes they stand for.

A part of a model is written as MMDetection writes it, ``dict(type='FPN', in_channels=[...], ...)``: `type` names a
registered class, the other keys are the keywords of its constructor (but those that a class lists in
``WITHOUT_EFFECT``: MMDetection's that mean nothing here). Whatever cannot be honoured is refused by the
key's full name, never ignored.
"""

from __future__ import annotations

import inspect
from typing import Any

from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import check_keys, check_type
from trainer.models.values import KEYS, accepted
from trainer.process import own_class

CLASSES: dict[str, type] = {}


def register(cls: type) -> type:
    """Class decorator: make `cls` known to configs by its name."""
    CLASSES[cls.__name__] = cls
    return cls


def build(config: dict, where: str, **given: Any) -> Any:
    """Construct what `config` describes.

    Args:
        config: the part's dict, with a `type`.
        where: the dict's own name in the config, for messages (``model.backbone``).
        given: keywords that the surrounding part supplies; the config may not set them.

    Raises:
        UserError: no `type`, an unknown `type`, an unknown or a missing key, a value that is none for its key
            (`trainer.models.values`).
    """
    if not isinstance(config, dict) or "type" not in config:
        raise UserError(f"{where}: a dict with a 'type' is expected, found {config!r}")
    name = check_type(where, class_name(config["type"]), CLASSES)
    cls = CLASSES[name]
    # trainer.weights.pretrained reads init_cfg, when training starts.
    others = ("type", "init_cfg", "_scope_", *getattr(cls, "WITHOUT_EFFECT", ()))
    keywords = {key: value for key, value in config.items() if key not in others}
    own = "." in name  # the user's
    parameters = _parameters(cls, annotated=not own)
    known = [key for key in parameters if key not in ("where", *given)]
    check_keys(f"{where} ({name})", keywords, known)
    for key in known:
        if parameters[key].default is inspect.Parameter.empty and key not in keywords:
            raise UserError(f"{where}.{key}: missing, {name} needs it")
        if key in keywords and not own and (values := accepted(parameters[key].annotation)):
            values.check(f"{where}.{key}", keywords[key])
    if "where" in parameters:
        given = {**given, "where": where}
    if own:
        return own_class.make(where, cls, {**keywords, **given})
    return cls(**keywords, **given)


def _parameters(cls: type, annotated: bool) -> dict[str, inspect.Parameter]:
    """Of the constructor; where it passes ``**keywords`` on, those of its base class come first.

    Args:
        annotated: whether annotations are wanted as what they stand for, not as text.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            signature = inspect.signature(vars(base)["__init__"], eval_str=annotated)
            own = dict(list(signature.parameters.items())[1:])  # without self
            keywords = [key for key, one in own.items() if one.kind is inspect.Parameter.VAR_KEYWORD]
            found = {key: one for key, one in own.items() if key not in keywords} | found
            if not keywords:
                break
    return found


def read(config: dict | None, where: str, required: tuple[str, ...] = (), **defaults: Any) -> dict:
    """The values of a plain dict (train_cfg, test_cfg) whose keys must be `required` or have a default.

    Raises:
        UserError: an unknown or a missing key, a value that is none for its key (`trainer.models.values.KEYS`).
    """
    if not isinstance(config, dict | None):
        raise UserError(f"{where} is {config!r}; expected a dict")
    config = config or {}
    check_keys(where, config, (*required, *defaults))
    for key in required:
        if key not in config:
            raise UserError(f"{where}.{key}: missing")
    for key in config.keys() & KEYS.keys():
        KEYS[key].check(f"{where}.{key}", config[key])
    return {**defaults, **config}


def require(value: Any, expected: Any, where: str) -> None:
    """Refuse a value that MMDetection accepts and this implementation does not.

    Raises:
        UserError: `value` differs from `expected`.
    """
    if value != expected:
        raise UserError(f"{where}: only {expected!r} is supported, found {value!r}")
