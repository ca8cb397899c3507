"""Which cards, drivers, toolkits and versions of cuDNN go together."""

import re

import pytest

from trainer.process.gpu_support import UNKNOWN, Card, Version, beyond_jittor, misfit

NEW_DRIVER = (13, 1)


def reason(capability: Version, toolkit: Version, cudnn: Version, driver: Version = NEW_DRIVER) -> str:
    return misfit(Card("a card", capability, 80 << 30), driver, toolkit, cudnn)


@pytest.mark.parametrize(
    ("capability", "toolkit", "cudnn", "patched"),
    [
        ((9, 0), (11, 8), (8, 6), False),
        ((9, 0), (12, 2), (8, 9), False),
        ((8, 9), (11, 6), (8, 6), False),  # as 8.6, which that one knows
        ((7, 0), (12, 2), UNKNOWN, False),
        ((9, 0), (12, 4), (9, 1), True),
        ((6, 1), (12, 4), (9, 1), True),
        ((7, 5), (13, 0), (9, 13), True),
        ((9, 0), (13, 0), (9, 13), True),
        ((10, 0), (12, 8), (9, 7), True),
        ((12, 0), (12, 8), (9, 7), True),
        ((12, 1), (12, 9), (9, 10), True),
        ((10, 3), (13, 0), (9, 13), True),
        ((11, 0), (13, 0), (9, 13), True),
    ],
)
def test_what_goes_together_goes_with_jittor_or_its_patched_copy(
    capability: Version, toolkit: Version, cudnn: Version, patched: bool
) -> None:
    assert reason(capability, toolkit, cudnn) == ""
    assert beyond_jittor(cudnn) == patched


@pytest.mark.parametrize(
    ("capability", "toolkit", "cudnn", "says"),
    [
        ((9, 0), (14, 0), (9, 20), "CUDA 14.0 with cuDNN 9.20 is newer than what Jittor can be patched for; install"),
        ((9, 0), (13, 0), (10, 0), "CUDA 13.0 with cuDNN 10.0 is newer than what Jittor can be patched for; install"),
        ((9, 0), (13, 0), (8, 9), "cuDNN 8.9 is not for CUDA 13.0; install cuDNN 9, or CUDA 11.8 to 12.x"),
        ((9, 0), (13, 0), UNKNOWN, "cuDNN of an unknown version is not for CUDA 13.0; install cuDNN 9"),
        ((9, 0), (11, 6), (8, 6), "capability 9.0: CUDA 11.6 does not know it; install CUDA 11.8 or newer"),
        ((7, 0), (13, 0), (9, 13), "capability 7.0: CUDA 13.0 no longer supports it; install CUDA 12.x"),
        ((12, 0), (12, 2), (8, 9), "capability 12.0: CUDA 12.2 does not know it; install CUDA 12.8 or newer"),
        ((10, 3), (12, 8), (9, 7), "capability 10.3: CUDA 12.8 does not know it; install CUDA 12.9 or newer"),
        ((12, 1), (12, 8), (9, 7), "capability 12.1: CUDA 12.8 does not know it; install CUDA 12.9 or newer"),
        ((12, 0), (12, 8), (8, 9), "capability 12.0: cuDNN 8.9 does not know it; install cuDNN 9.7 or newer"),
        ((10, 0), (12, 8), (9, 6), "capability 10.0: cuDNN 9.6 does not know it; install cuDNN 9.7 or newer"),
        ((13, 0), (13, 0), (9, 13), "capability 13.0: Jittor can be patched for cards up to compute capability 12.1"),
    ],
)
def test_what_does_not_is_named_with_what_to_install(
    capability: Version, toolkit: Version, cudnn: Version, says: str
) -> None:
    assert re.search(re.escape(says), reason(capability, toolkit, cudnn))


def test_a_driver_may_be_for_another_minor_version_of_its_toolkit() -> None:
    assert reason((9, 0), (12, 4), (8, 9), driver=(12, 0)) == ""
    assert reason((9, 0), (12, 2), (8, 9), driver=(11, 4)) == (
        "the driver is for CUDA 11.4, nvcc is 12.2; update the driver"
    )
