"""The user's own code behind a config: the modules that it names and those that they import, found without running any.

    type='detectors.swin.Swin', custom_imports ──► modules ──► what they import, and so on ──► name: digest of the file

A module is the user's own where Python finds it outside of its library and of what pip has installed; so a package that
is installed to be edited counts. What is not written in Python, or imported by a name that is computed, is not seen.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from shared import contents
from shared.config_keys import class_name

_THIS_PROGRAM = ("data_server", "shared", "trainer")  # counts by its version


def digests(config: Any) -> dict[str, str]:
    """Of each module of the user's own, by its name: 32 hexadecimal digits."""
    return {name: contents.file_digest(str(path)) for name, path in sorted(_files(config).items())}


def _files(config: Any) -> dict[str, Path]:
    """Of each module: its file, which of a package is ``__init__.py``, and of one without is none."""
    found: dict[str, Path] = {}
    folders: dict[str, list[Path]] = {}  # where the modules of a package lie
    own = [Path(folder).resolve() for folder in sys.path if _is_own(folder)]
    waiting = sorted(set(_modules(config)))
    while waiting:
        parts = waiting.pop().split(".")
        for end in range(1, len(parts) + 1):
            name, parent = ".".join(parts[:end]), ".".join(parts[: end - 1])
            if name not in folders:
                places = folders[parent] if parent else [*own, *_installed(name)]
                folders[name], file = _looked_up(parts[end - 1], [] if name in _THIS_PROGRAM else places)
                if file:
                    found[name] = file
                    waiting += _imports(file, name if file.name == "__init__.py" else parent)
    return found


def _looked_up(name: str, places: list[Path]) -> tuple[list[Path], Path | None]:
    """The folders and the file of a module, as Python finds them: a folder without ``__init__.py`` comes last."""
    for place in places:
        package, module = place / name / "__init__.py", place / f"{name}.py"
        if package.is_file():
            return [place / name], package
        if module.is_file():
            return [], module
    return [place / name for place in places if (place / name).is_dir()], None


def _imports(file: Path, package: str) -> Iterator[str]:
    """The modules that a file of a package may import, and names that could be modules of them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # told by the step, which imports it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names if base)


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


def _installed(top: str) -> list[Path]:
    """Where a package or module lies that is the user's own and in no folder of ``sys.path``."""
    spec: ModuleSpec | None = None
    with contextlib.suppress(ValueError, ImportError):  # of a module that is loaded and does not say from where
        spec = importlib.util.find_spec(top)
    places = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
    return [Path(place).resolve().parent for place in places if _is_own(str(Path(place).parent))]


def _is_own(folder: str) -> bool:
    place = Path(folder).resolve()
    library = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return (
        place.is_dir()
        and not any(place.is_relative_to(one) for one in library)
        and not {"site-packages", "dist-packages"}.intersection(place.parts)
    )
