"""Training at full size, step by step, as checks of a GPU's memory and of its stand-in take it.

The networks are the paper's, batches are two images of the sizes that Resize((1333, 800)) makes, in another order each
time round, with 5 to 61 boxes. A step is the training loop's: uploads, graph, the read of the step before, execution.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.networks.cases import CASES, OPTIMIZER, PROPOSALS
from shared.batch import BOX_MULTIPLE, blank_arrays, padded
from trainer.batch import Batch
from trainer.device import jt, seed
from trainer.models import build_detector
from trainer.training.guards import memory_advised
from trainer.training.optimizer import build_optimizer
from trainer.training.terms import packed, total_loss

SIZES = (
    (800, 1088),
    (800, 1216),
    (1216, 800),
    (608, 1344),
    (768, 1344),
    (1088, 800),
    (1344, 768),
    (800, 1056),
    (800, 1344),
)


def sizes(steps: int) -> list[tuple[int, int]]:
    """The height and width of each step's batch: all sizes once, then again in another order."""
    generator = np.random.default_rng(0)
    rounds = -(-steps // len(SIZES))
    order = [*range(len(SIZES)), *(i for _ in range(rounds - 1) for i in generator.permutation(len(SIZES)))]
    return [SIZES[i] for i in order[:steps]]


class Training:
    """The paper's network of a stage, and its steps.

    Args:
        half: the type of maps, where it is not float32.
    """

    def __init__(self, stage: int, half: str | None = None) -> None:
        seed(0)
        self._case = CASES[f"paper stage {stage}"]
        self.model = build_detector(self._case.model(Path(tempfile.mkdtemp())))
        self.model.train()
        wrapper = OPTIMIZER
        if half is not None:
            self.model.trains_in, wrapper = half, OPTIMIZER | {"type": "AmpOptimWrapper"}
        self._optimizer = build_optimizer(wrapper, self.model)
        self._unread: jt.Var | None = None
        jt.sync_all()

    def step(self, number: int, height: int, width: int) -> Batch:
        """Takes a step on a batch of that size; returns the batch. `number` decides its boxes."""
        one = self._batch(number, height, width)
        with memory_advised(one):
            terms = self.model.loss(one)
            values = packed([*terms.values(), self._optimizer.step(total_loss(terms))])
            del terms
            if self._unread is not None:
                self._unread.numpy()
            self._unread = values
            jt.sync_all()
        self._optimizer.keep()
        return one

    def _batch(self, number: int, height: int, width: int) -> Batch:
        """Black images with boxes and, in stage 2, proposals."""
        case = self._case
        random = np.random.default_rng(number)
        most = 5 + 7 * (number % 9)
        boxes, proposals = padded(most, BOX_MULTIPLE), PROPOSALS if case.stage == 2 else 0
        arrays = blank_arrays(case.images, height, width, boxes, proposals)
        arrays["box_counts"][:] = random.integers(1, most + 1, case.images)
        arrays["labels"][:] = random.integers(0, case.classes, arrays["labels"].shape)
        for name in ("boxes", "proposals")[: 1 + bool(proposals)]:
            corners = random.uniform(0, 0.6, (*arrays[name].shape[:2], 2))
            ends = corners + random.uniform(0.02, 0.4, corners.shape)
            arrays[name][..., :4] = np.concatenate([corners, ends], 2) * [width, height, width, height]
        if proposals:
            arrays["proposal_counts"][:] = proposals
        return Batch.from_arrays(arrays, step=number)
