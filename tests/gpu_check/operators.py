"""What operators give on the device of this process: ``python -m tests.gpu_check.operators FILE SHAPES`` writes all
outputs of SHAPES random calls of each as arrays ``name/seed/number`` to FILE, .npz."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.trainer.models.clip_examples import batch_with_proposals, small_clip_model
from tests.trainer.models.examples import drawn, random_batch, small_model
from tests.trainer.models.ops.random_calls import CALLS, Generator
from trainer.device import jt, var
from trainer.models.ops.matmul import batched_matmul
from trainer.training.terms import total_loss

HALF = "in half"  # at the end of a name: the numbers are those of float16, or come of such


def product(generator: Generator) -> list[jt.Var]:
    """A product of matrices, and the gradients of a weighted sum of it."""
    number, rows, inner, columns = (int(n) for n in generator.integers(1, (20, 60, 200, 60), endpoint=True))
    left = var(generator.standard_normal((number, rows, inner)), "float32")
    right = var(generator.standard_normal((number, inner, columns)), "float32")
    y = batched_matmul(left, right)
    weights = var(generator.standard_normal(tuple(y.shape)), "float32")
    return [y, *jt.grad((y * weights).sum(), [left, right])]


def stage(generator: Generator, number: int, dtype: str) -> list[jt.Var]:
    """The loss of a small detector of a stage, and the gradients of all that it trains."""
    with tempfile.TemporaryDirectory() as folder:
        model = drawn(small_model() if number == 1 else small_clip_model(Path(folder)))
    model.train()
    model.trains_in = dtype
    seed = int(generator.integers(100))
    loss = total_loss(model.loss(random_batch(seed=seed) if number == 1 else batch_with_proposals(seed=seed)))
    return [loss, *jt.grad(loss, [value for value in model.parameters() if not value.is_stop_grad()])]


ALL: dict[str, Callable[[Generator], list[jt.Var]]] = {
    **{name: call for name, (_, call) in CALLS.items()},
    "product": product,
    "stage 1": lambda g: stage(g, 1, "float32"),
    "stage 2": lambda g: stage(g, 2, "float32"),
    f"stage 1 {HALF}": lambda g: stage(g, 1, "float16"),
    f"stage 2 {HALF}": lambda g: stage(g, 2, "float16"),
}


def computed(shapes: int) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the numbers of each output."""
    for name, call in ALL.items():
        for seed in range(shapes):
            for i, output in enumerate(call(np.random.default_rng(seed))):
                yield f"{name}/{seed}/{i}", output.numpy()


def main(path: str, shapes: str) -> None:
    np.savez(path, **dict(computed(int(shapes))))


if __name__ == "__main__":
    main(*sys.argv[1:])
