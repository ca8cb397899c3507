"""A private copy of Jittor that is changed for CUDA 13, cuDNN 9 and cards that Jittor does not know.

    site-packages/jittor, jittor_utils ───────┐                ┌─► ~/.cache/unidetector/jittor/1.3.11.0-KEY/
    jittor_offline/cutt-1.2.zip ──────────────┴──changes.py────┘       jittor/  jittor_utils/  cutt/
                                                                     (or below XDG_CACHE_HOME)

The installed Jittor is read, never written. KEY is of all bytes of the copy: another Jittor, another cutt or other
changes are another copy, and another part of Jittor's cache. A copy is made in a folder beside it, which is given its
name when it is whole; at every start each file is compared with what it should be, and a copy with a wrong one is made
anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.contents import cache_folder
from shared.errors import UserError
from shared.files import locked, reported
from trainer.process.jittor_patch.changes import CHANGES, LEFT_OUT

VERSION = "1.3.11.0"
PACKAGES = ("jittor", "jittor_utils")
ARCHIVE = "cutt-1.2.zip"
_AGAIN = f"pip install --force-reinstall --no-deps jittor=={VERSION} jittor-offline==0.0.7"

Files = dict[str, bytes]


def check(installed: Path) -> None:
    """Looks whether the changes fit.

    Args:
        installed: the folder of the package ``jittor``.

    Raises:
        UserError: it is another version, or a text that is to be changed is not there, or more than once.
    """
    _check_version(installed)
    names = {*LEFT_OUT, *(change.file for change in CHANGES)}
    unpacked = _cutt()
    paths = {name: installed.parent / name for name in names if name not in unpacked}
    _changed(unpacked | {name: path.read_bytes() for name, path in paths.items() if path.is_file()})


def use(installed: Path, libraries: str, say: Callable[[str], None]) -> str:
    """From now on Python finds the copy of `installed`, which is made where it is missing or damaged.

    Args:
        libraries: what it is needed for; for the line that `say` gets when a copy has been made.

    Returns:
        a name for the copy's own part of Jittor's cache.

    Raises:
        UserError: as `check`; or the copy cannot be written.
    """
    _check_version(installed)
    files = _changed(_cutt() | dict(_files_of(installed)))
    kept = _folder()
    folder = kept / f"{VERSION}-{_key(files)}"
    with reported(folder, "free some space, or set XDG_CACHE_HOME to a folder that you may write to"):
        kept.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not _holds(folder, files):
                _make(folder, files)
                say(
                    f"Jittor {VERSION} is patched for {libraries} in a copy of its own, {folder}; what is installed "
                    "stays as it is."
                )
    sys.path.insert(0, str(folder))
    return folder.name


def _folder() -> Path:
    try:
        return cache_folder() / "jittor"
    except RuntimeError as error:  # HOME is not set, and the user has no entry among the system's
        raise UserError(f"no place for a copy of Jittor: {error}; set HOME or XDG_CACHE_HOME") from None


def _check_version(installed: Path) -> None:
    found = re.search(r"^__version__ = '(.*)'$", (installed / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None or found[1] != VERSION:
        version = found[1] if found else "of an unknown version"
        raise UserError(f"Jittor {version} in {installed}: the changes to a copy of it are for {VERSION}; {_AGAIN}")


def _files_of(installed: Path) -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        for path in sorted((installed.parent / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(installed.parent).as_posix(), path.read_bytes()


def _cutt() -> Files:
    """What Jittor builds its transposes from, as it is in the wheel that Jittor itself would take it from."""
    found = importlib.util.find_spec("jittor_offline")
    archive = Path(found.origin).with_name(ARCHIVE) if found and found.origin else None
    if archive is None or not archive.is_file():
        raise UserError(f"{ARCHIVE}, without which Jittor transposes on the CPU, is not installed; {_AGAIN}")
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if "/src/" in name or "/include/" in name]
        return {f"cutt/{name}": file.read(name) for name in names if not name.endswith("/")}


def _changed(files: Files) -> Files:
    """`files` with all changes, or a UserError."""
    if missing := [name for name in LEFT_OUT if name not in files]:
        raise UserError(f"Jittor {VERSION} without {missing[0]}: it was changed; {_AGAIN}")
    changed = {name: content for name, content in files.items() if name not in LEFT_OUT}
    for name, old, new in CHANGES:
        times = changed.get(name, b"").count(old.encode())
        if times != 1:
            raise UserError(
                f"{name} of Jittor {VERSION} has {times} times {old.strip().splitlines()[0]!r}, expected once: it was "
                f"changed; {_AGAIN}"
            )
        changed[name] = changed[name].replace(old.encode(), new.encode())
    return changed


def _key(files: Files) -> str:
    whole = hashlib.blake2b(digest_size=8)
    for name, content in sorted(files.items()):
        whole.update(f"{name} {len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()


def _holds(folder: Path, files: Files) -> bool:
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _make(folder: Path, files: Files) -> None:
    making = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
    for name, content in files.items():
        (making / name).parent.mkdir(parents=True, exist_ok=True)
        (making / name).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)  # what is damaged
    making.rename(folder)
