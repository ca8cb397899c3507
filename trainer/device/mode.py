"""What a run asks of the way in which a GPU computes, where it could in several."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """Chosen before the first network is built.

    Attributes:
        by_stopwatch: cuDNN tries its algorithms for each new geometry of a convolution, and takes the fastest; else the
            one that it ranks first, without a trial.
    """

    by_stopwatch: bool = False


_chosen = Mode()


def choose(mode: Mode) -> None:
    """From now on operators compute like this."""
    global _chosen
    _chosen = mode


def chosen() -> Mode:
    """How operators compute."""
    return _chosen
