import numpy as np
import pytest
import xxhash

from shared.checksum import Checksum

PAYLOAD = np.random.default_rng(0).integers(0, 256, 10_000, dtype=np.uint8)


@pytest.mark.parametrize("ends", [(), (1,), (64, 640, 641), (9_000,)])
def test_a_payload_written_in_bands_has_the_checksum_of_the_whole(ends):
    payload = np.zeros_like(PAYLOAD)
    checksum, start = Checksum(payload), 0
    for end in ends:
        payload[start:end] = PAYLOAD[start:end]
        checksum.passed(end)
        start = end
    payload[start:] = PAYLOAD[start:]
    assert checksum.digest(9_000) == xxhash.xxh3_64_intdigest(PAYLOAD[:9_000])


def test_one_that_is_not_wanted_is_zero():
    checksum = Checksum(PAYLOAD, wanted=False)
    checksum.passed(10)
    assert checksum.digest(100) == 0
