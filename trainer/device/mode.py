"""What a run asks of the way in which a GPU computes, where it could in several."""

from __future__ import annotations

from dataclasses import dataclass

from mmengine.config import Config

from shared.config import cudnn_benchmark, deterministic


@dataclass(frozen=True)
class Mode:
    """Chosen before the first network is built (`trainer.device.in_order.begin`).

    Attributes:
        deterministic: two runs are equal to the last bit: every sum is made in one order.
        by_stopwatch: cuDNN tries its algorithms for each new geometry of a convolution, and takes the fastest; else the
            one that it ranks first, without a trial.
    """

    deterministic: bool = False
    by_stopwatch: bool = False

    @classmethod
    def of(cls, config: Config) -> Mode:
        """What `config` asks for; algorithms by stopwatch, which no two runs have in common, not beside equal runs."""
        return cls(deterministic(config), cudnn_benchmark(config) and not deterministic(config))


_chosen = Mode()


def choose(mode: Mode) -> None:
    """From now on operators compute like this."""
    global _chosen
    _chosen = mode


def chosen() -> Mode:
    """How operators compute."""
    return _chosen
