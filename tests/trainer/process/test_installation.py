"""What is told of an installation before Jittor is imported, which would fail at it with a traceback."""

from __future__ import annotations

import pytest

from shared.errors import UserError
from trainer.process.installation import jittor_home, require_cache


def test_without_a_home_for_jittors_kernels_there_is_one_line_with_what_to_set(homeless: str) -> None:
    if homeless == "nowhere":
        with pytest.raises(UserError, match=r"no place for the kernels .*; set HOME or JITTOR_HOME$"):
            jittor_home()
    else:
        with pytest.raises(UserError, match=r"into /proc/\.cache/jittor, which cannot be written: .* set JITTOR_HOME"):
            require_cache()
