"""What is told of an installation before Jittor is imported, which would fail at it with a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.process.installation import jittor_home, python_config, require_cache


def test_without_a_home_for_jittors_kernels_there_is_one_line_with_what_to_set(homeless: str) -> None:
    if homeless == "nowhere":
        with pytest.raises(UserError, match=r"no place for the kernels .*; set HOME or JITTOR_HOME$"):
            jittor_home()
    else:
        with pytest.raises(UserError, match=r"into /proc/\.cache/jittor, which cannot be written: .* set JITTOR_HOME"):
            require_cache()


def test_a_python_with_headers_of_its_own_names_them_where_the_system_has_none(tmp_path: Path) -> None:
    """Debian's, whose own are the system's, has none to name there either."""
    own = python_config(programs=tmp_path)
    assert own is None or subprocess.run([own, "--includes"], capture_output=True, text=True).stdout.startswith("-I")
    (tmp_path / f"python3.{sys.version_info.minor}-config").touch()
    assert python_config(programs=tmp_path) is None
