"""What Jittor needs to be imported: a numpy that it can read, a place for its kernels, oneDNN."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shared.errors import UserError

SYSTEM_PROGRAMS = Path("/usr/bin")


def refuse_known_garbage() -> None:
    """Raises UserError over what makes Jittor compute garbage without an error."""
    if int(np.__version__.split(".")[0]) >= 2:
        raise UserError(
            f"numpy {np.__version__} makes Jittor copy zero bytes without an error; "
            "numpy 1.26 is needed: pip install 'numpy>=1.26.4,<2'"
        )
    for name in ("trace_py_var", "trace_var_data"):
        if sys.version_info >= (3, 11) and os.environ.get(name, "0") not in ("", "0"):
            raise UserError(
                f"environment variable {name}={os.environ[name]!r} breaks every upload from Python 3.11 on; unset it"
            )


def jittor_home() -> Path:
    """The folder of Jittor's cache. Raises UserError where there is no home directory."""
    try:
        return Path(os.environ.get("JITTOR_HOME") or Path.home()).absolute() / ".cache" / "jittor"
    except RuntimeError as error:  # HOME is not set, and the user has no entry among the system's
        raise UserError(f"no place for the kernels that Jittor compiles: {error}; set HOME or JITTOR_HOME") from None


def jittor_sources() -> Path:
    """The folder of the installed Jittor. Raises UserError where there is none."""
    found = importlib.util.find_spec("jittor")
    if found is None or found.origin is None:
        raise UserError("Jittor is not installed: pip install 'unidetector-jittor[trainer]'")
    return Path(found.origin).parent


def python_config(programs: Path = SYSTEM_PROGRAMS) -> Path | None:
    """This Python's own ``python3.X-config``, which knows where its headers are; None where Jittor finds one itself.

    It looks beside the virtual environment's Python and among the system's `programs`; pyenv's and uv's lie elsewhere.
    """
    name = f"python3.{sys.version_info.minor}-config"
    own = Path(sysconfig.get_path("scripts", vars={"base": sys.base_prefix})) / name
    return own if own.is_file() and not (programs / name).is_file() else None


def require_cache() -> None:
    """Raises UserError where Jittor could not write its cache: it opens files there even when all is compiled."""
    folder = jittor_home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise UserError(
            f"Jittor compiles its kernels into {folder}, which cannot be written: {error.strerror}; free some space, "
            "or set JITTOR_HOME to a folder that you may write to"
        ) from None


def onednn_homes() -> Iterator[Path]:
    """The folders with a built oneDNN, in Jittor's cache."""
    return (library.parent.parent for library in jittor_home().glob("mkl/*/lib/libmkldnn.so"))


def require_assets() -> None:
    """oneDNN, without which a convolution is 60 times slower, comes from the cache or from the jittor-offline wheel.

    Raises:
        UserError: Jittor is not installed, or would download oneDNN.
    """
    jittor_sources()
    if not any(onednn_homes()) and importlib.util.find_spec("jittor_offline") is None:
        raise UserError(
            f"oneDNN is neither in {jittor_home() / 'mkl'} nor installed; without it Jittor would download at start: "
            "pip install jittor-offline==0.0.7"
        )
