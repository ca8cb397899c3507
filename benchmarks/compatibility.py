"""docs/compatibility.md: every key of the settings in MMDetection's own configs, and what becomes of it here.

    python -m benchmarks.compatibility [ZOO]        prints the page

A key is counted once for each config that has it, by what `shared.config_keys` and its neighbours say about its value
there. Models, optimizers, data sets, transforms and metrics are built by classes, which check their keys themselves.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import conformance, zoo
from shared import config_keys, hook_keys, samplers, vis_backends
from shared.class_names import with_names
from shared.config_keys import MMDETECTION_2, NO_EFFECT, READ, REFUSED, ConfigKey, Section, class_name
from shared.errors import UserError
from shared.hook_keys import listed
from trainer.training import plateau
from trainer.training.moves import SCHEDULERS
from trainer.training.plateau import PLATEAUS, WITHOUT_EFFECT
from trainer.training.schedule import KEYS

_OPTIMIZERS = ("SGD", "Adam", "AdamW")
_HEAD = """# MMDetection's configs, key by key

Made by `python -m benchmarks.compatibility` from the configs that come with MMDetection; a test says when it is old.
[configs.md](configs.md) says what each key sets and what to do about the refused ones.

"""
_TABLE = """
Below is every key of their settings, with the number of configs that have it and what becomes of it. *Implemented*: it
sets something here. *No effect*: nothing that is trained, measured or delivered depends on it, or its value asks for
nothing. *Refused*: with a line, where the config is read or its optimizer is made. Keys of models, optimizers, data
sets, transforms and metrics are left out, the classes check them; so are variables of the configs' own.

| Key | Configs | Implemented | No effect | Refused |
| --- | --- | --- | --- | --- |
"""

Found = tuple[str, str]  # a key, and what becomes of it


def page(configs: Mapping[str, Any], refused: Mapping[str, str]) -> str:
    """The page about resolved configs, by name, `refused` being what is said of those that do not pass the check."""
    fates: dict[str, Counter[str]] = defaultdict(Counter)
    in_all: Counter[str] = Counter()
    detection = [name for name in configs if zoo.is_detection(configs[name])]
    for config in configs.values():
        found = set(_found(with_names(config)))
        in_all.update({key for key, _ in found})
        for key in {key for key, _ in found}:
            has = {fate for other, fate in found if other == key}
            fates[key][next(fate for fate in (REFUSED, READ, NO_EFFECT) if fate in has)] += 1
    says = Counter(_short(refused[name]) for name in configs if name in refused)
    passed = sum(name not in refused for name in configs)
    passed_detection = sum(name not in refused for name in detection)
    text = _HEAD + "| | Configs | pass the check |\n| --- | --- | --- |\n"
    text += f"| all that resolve | {len(configs)} | {passed} ({passed / len(configs):.1%}) |\n"
    text += f"| of detection | {len(detection)} | {passed_detection} ({passed_detection / len(detection):.1%}) |\n"
    text += "\n| Refused by the check | Configs |\n| --- | --- |\n"
    text += "".join(f"| {reason} | {count} |\n" for reason, count in sorted(says.items(), key=lambda one: -one[1]))
    text += _TABLE
    for key in sorted(in_all):
        counts = " | ".join(str(fates[key][fate] or "") for fate in (READ, NO_EFFECT, REFUSED))
        text += f"| `{key}` | {in_all[key]} | {counts} |\n"
    return text


def _short(reason: str) -> str:
    """What is refused, without what to do about it."""
    return f"`{reason.partition(', which is')[0].partition(' and has no effect')[0].removeprefix('config key ')}`"


def _found(config: Mapping[str, Any]) -> Iterator[Found]:
    for key in config_keys.TOP_LEVEL:
        if key.name in config:
            yield _fate(key.name, key, config[key.name])
    yield from ((key, REFUSED) for key in MMDETECTION_2 if key in config and key not in ("data", "seed"))
    for split in ("train", "val", "test"):
        yield from _dataloader(config.get(f"{split}_dataloader") or {})
    for place in ("train_cfg", "val_cfg", "test_cfg", "randomness", "auto_scale_lr"):
        yield from _section(place, config.get(place), config_keys.SECTIONS[place])
    yield from _optimizer(config.get("optim_wrapper") or {})
    for scheduler in listed(config.get("param_scheduler") or []):
        yield from _scheduler(scheduler)
    hooks = config.get("default_hooks") or {}
    yield from _section("default_hooks.logger", hooks.get("logger"), hook_keys.LOGGER)
    yield from _section("default_hooks.checkpoint", hooks.get("checkpoint"), hook_keys.CHECKPOINT)
    others = [hook for name, hook in hooks.items() if name not in ("logger", "checkpoint", "_scope_") and hook]
    for hook in [*others, *(config.get("custom_hooks") or [])]:
        yield from _hook(hook)
    known = {key.name: key.fate for key in vis_backends.BACKENDS}
    for backend in listed(config.get("vis_backends") or []):
        kind = class_name(backend.get("type"))
        yield f"vis_backends type={kind}", known.get(kind, REFUSED)


def _dataloader(dataloader: Mapping[str, Any]) -> Iterator[Found]:
    yield from _section("*_dataloader", dataloader, config_keys.DATALOADER)
    kind = samplers.sampler_of(dataloader)
    (named,) = samplers.SAMPLER
    if kind not in samplers.SAMPLERS:
        yield f"*_dataloader.sampler type={kind}", REFUSED
    else:
        yield from _section(kind, dataloader.get("sampler"), (named, *samplers.SAMPLERS[kind]))
    batch_sampler = dataloader.get("batch_sampler") or {}
    (named, *_) = samplers.BATCH_SAMPLER
    if batch_sampler and not (named.values and named.values.accepts(batch_sampler.get("type"))):
        yield f"*_dataloader.batch_sampler type={class_name(batch_sampler.get('type'))}", REFUSED
    else:
        own = samplers.DATA_SETS if "num_datasets" in batch_sampler else ()
        yield from _section("*_dataloader.batch_sampler", batch_sampler, (*samplers.BATCH_SAMPLER, *own))


def _optimizer(wrapper: Mapping[str, Any]) -> Iterator[Found]:
    (named, *_) = config_keys.OPTIM_WRAPPER
    kind = class_name(wrapper.get("type", "OptimWrapper"))
    if kind != "OptimWrapper":
        yield f"optim_wrapper type={kind}", READ if named.values and named.values.accepts(kind) else REFUSED
    yield from _section("optim_wrapper", {k: v for k, v in wrapper.items() if k != "type"}, config_keys.OPTIM_WRAPPER)
    yield from _section("optim_wrapper.paramwise_cfg", wrapper.get("paramwise_cfg"), config_keys.PARAMWISE_CFG)
    yield from _section("optim_wrapper.clip_grad", wrapper.get("clip_grad"), config_keys.CLIP_GRAD)
    if "optimizer" in wrapper:
        kind = class_name(wrapper["optimizer"].get("type"))
        yield f"optim_wrapper.optimizer type={kind}", READ if kind in _OPTIMIZERS else REFUSED


def _scheduler(scheduler: Mapping[str, Any]) -> Iterator[Found]:
    kind = class_name(scheduler.get("type"))
    keys = {name: (*KEYS, *one.keys) for name, one in SCHEDULERS.items()} | dict.fromkeys(PLATEAUS, plateau.KEYS)
    yield f"param_scheduler type={kind}", READ if kind in keys else REFUSED
    if kind in keys:
        for key in scheduler.keys() - {"type", "_scope_"}:
            known = READ if key in keys[kind] else NO_EFFECT if key in WITHOUT_EFFECT else REFUSED
            yield f"{kind}.{key}", known


def _hook(hook: Mapping[str, Any]) -> Iterator[Found]:
    kind = class_name(hook.get("type"))
    known = {key.name: key for key in hook_keys.HOOKS}
    yield f"hook type={kind}", known[kind].fate if kind in known else REFUSED
    yield from _section(kind, hook, hook_keys.SECTIONS.get(kind, ()), closed=kind in hook_keys.SECTIONS)


def _section(place: str, values: Any, keys: Section, *, closed: bool = True) -> Iterator[Found]:
    known = {key.name: key for key in keys}
    for name, value in (values or {}).items() if closed else ():
        if name in known:
            yield _fate(f"{place}.{name}", known[name], value)
        elif name != "_scope_":
            yield f"{place}.{name}", REFUSED


def _fate(name: str, key: ConfigKey, value: Any) -> Found:
    try:
        key.check(name, value)
    except UserError:
        return name, REFUSED
    return name, key.fate if key.fate != REFUSED else READ if key.name == "type" else NO_EFFECT


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compatibility", description="Print the page.")
    parser.add_argument("zoo", nargs="?", type=Path, default=zoo.installed(), help="default: the installed one")
    root = parser.parse_args().zoo
    print(page(*conformance.check(zoo.files(root), root)), end="")


if __name__ == "__main__":
    main()
