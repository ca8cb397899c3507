"""The short form of the soak: eight kills. The thousand are ``make chaos``."""

import pytest

from tests.chaos.soak import Soak

KILLS = 8


@pytest.mark.slow
def test_kills_of_everybody_at_random_change_no_byte_and_leave_nothing(tmp_path):
    result = Soak(tmp_path, KILLS, seed=1).run()
    print(result)
    assert result.flawless, str(result)
    assert result.kills.total() == KILLS
