"""Which cards, drivers, CUDA toolkits and versions of cuDNN go together, and with Jittor.

                 CUDA 11.8 to 12.x                      CUDA 13
cuDNN 8     ok   cards up to 9.0, Jittor as it is       there is none
cuDNN 9     ok   cards up to 12.1, with 9.7 and 12.8    cards from 7.5 to 12.1
                 └────────── a copy of Jittor that is patched ──────────┘
"""

from __future__ import annotations

from dataclasses import dataclass

SUPPORTED = (
    "CUDA 11.8 to 12.x with cuDNN 8 or 9, or CUDA 13 with cuDNN 9, as in the images "
    "nvidia/cuda:12.2.2-cudnn8-devel-ubuntu22.04 and nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04"
)

Version = tuple[int, int]
UNKNOWN: Version = (0, 0)

# Compute capabilities, and the first toolkit that compiles for one; others are as the first of their major number.
_FIRST_TOOLKIT: dict[Version, Version] = {
    (8, 0): (11, 0),
    (9, 0): (11, 8),
    (10, 0): (12, 8),
    (10, 3): (12, 9),
    (11, 0): (13, 0),
    (12, 0): (12, 8),
    (12, 1): (12, 9),
}
_NEWEST_CARD = max(_FIRST_TOOLKIT)
_OLDEST_CARD_OF_CUDA_13 = (7, 5)
_JITTORS_NEWEST_CARD, _FIRST_CUDNN_OF_NEWER_CARDS = (9, 0), (9, 7)
_JITTORS_TOOLKIT, _JITTORS_CUDNN = 12, 8
_LAST_TOOLKIT, _LAST_CUDNN = 13, 9


@dataclass(frozen=True)
class Card:
    """A card: its name, compute capability, and memory in bytes."""

    name: str
    capability: Version
    memory: int

    def __str__(self) -> str:
        return f"{self.name}, {self.memory / 2**30:.0f} GiB, compute capability {shown(self.capability)}"


def shown(version: Version) -> str:
    """For a person."""
    return "of an unknown version" if version == UNKNOWN else f"{version[0]}.{version[1]}"


def beyond_jittor(cudnn: Version) -> bool:
    """Whether Jittor has to be patched for what `fits`: CUDA 13 and cards above 9.0 come with cuDNN 9 alone."""
    return cudnn[0] > _JITTORS_CUDNN


def misfit(card: Card, driver: Version, toolkit: Version, cudnn: Version) -> str:
    """Why they do not go together, in a line; empty where they do.

    Args:
        driver: the newest CUDA that it knows.
        cudnn: `UNKNOWN` where it is too old to say.
    """
    if toolkit[0] > _LAST_TOOLKIT or cudnn[0] > _LAST_CUDNN:
        return (
            f"CUDA {shown(toolkit)} with cuDNN {shown(cudnn)} is newer than what Jittor can be patched for; "
            f"install {SUPPORTED}"
        )
    if toolkit[0] > _JITTORS_TOOLKIT and not beyond_jittor(cudnn):
        return f"cuDNN {shown(cudnn)} is not for CUDA {shown(toolkit)}; install cuDNN 9, or {SUPPORTED}"
    if driver[0] < toolkit[0]:
        return f"the driver is for CUDA {shown(driver)}, nvcc is {shown(toolkit)}; update the driver"
    return _misfit_of_card(card, toolkit, cudnn)


def _misfit_of_card(card: Card, toolkit: Version, cudnn: Version) -> str:
    capability = card.capability
    if capability > _NEWEST_CARD:
        return f"{card}: Jittor can be patched for cards up to compute capability {shown(_NEWEST_CARD)}"
    first = _FIRST_TOOLKIT.get(capability) or _FIRST_TOOLKIT.get((capability[0], 0), UNKNOWN)
    if toolkit < first:
        return f"{card}: CUDA {shown(toolkit)} does not know it; install CUDA {shown(first)} or newer"
    if toolkit[0] > _JITTORS_TOOLKIT and capability < _OLDEST_CARD_OF_CUDA_13:
        return f"{card}: CUDA {shown(toolkit)} no longer supports it; install CUDA 12.x"
    if capability > _JITTORS_NEWEST_CARD and cudnn < _FIRST_CUDNN_OF_NEWER_CARDS:
        first_cudnn = shown(_FIRST_CUDNN_OF_NEWER_CARDS)
        return f"{card}: cuDNN {shown(cudnn)} does not know it; install cuDNN {first_cudnn} or newer"
    return ""
