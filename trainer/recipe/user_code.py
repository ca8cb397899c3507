"""The user's own code behind a config: the modules that it names and those that they import, found without running any.

    type='detectors.swin.Swin', custom_imports ──► modules ──► what they import, and so on ──► name: digest of the file

A module is the user's own where Python finds it outside of its library and of what pip has installed; so a package that
is installed to be edited counts. What a module imports by a name that it computes is not seen.
"""

from __future__ import annotations

import contextlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from shared import contents
from shared.config_keys import class_name

_THIS_PROGRAM = ("data_server", "shared", "trainer")  # counts by its version


def digests(config: Any) -> dict[str, str]:
    """Of each module of the user's own, by its name: 32 hexadecimal digits."""
    names = sorted(set(_modules(config)))
    finder = ModuleFinder(path=[*_folders(names), *filter(_is_own, sys.path)], excludes=_THIS_PROGRAM)
    for name in names:
        with contextlib.suppress(ImportError, SyntaxError):  # told by the step, which imports it
            finder.import_hook(name)
    found = {name: vars(module)["__file__"] for name, module in finder.modules.items()}  # typeshed does not know it
    return {name: contents.file_digest(path) for name, path in sorted(found.items()) if path}


def _modules(config: Any) -> Iterator[str]:
    """The modules of ``type='module.Class'`` and of ``custom_imports``, anywhere in a config."""
    if isinstance(config, dict):
        if module := class_name(config.get("type") or "").rpartition(".")[0]:
            yield module
        custom = config.get("custom_imports")
        named = custom.get("imports") if isinstance(custom, dict) else None
        yield from [named] if isinstance(named, str) else named or ()
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from _modules(value)


def _folders(names: list[str]) -> Iterator[str]:
    """Where the packages and modules lie that are the user's own but in no folder of ``sys.path``."""
    for top in sorted({name.partition(".")[0] for name in names} - {*_THIS_PROGRAM}):
        with contextlib.suppress(ValueError):  # of a module that is loaded and does not say from where
            spec = importlib.util.find_spec(top)
            places = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
            yield from filter(_is_own, {str(Path(place).parent) for place in places})


def _is_own(folder: str) -> bool:
    paths = sysconfig.get_paths()
    library = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    place = Path(folder).resolve()
    return place.is_dir() and not any(
        place.is_relative_to(Path(one).resolve())
        for one in (*library, *site.getsitepackages(), site.getusersitepackages())
    )
