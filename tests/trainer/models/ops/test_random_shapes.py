"""The CUDA source of every operator computes what its CPU source does, whatever the shapes: EMULATED of them
(``make emulate`` takes 1,000)."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.models.ops.cuda_sources import closeness, record, run
from tests.trainer.models.ops.random_calls import CALLS

COUNT = int(os.environ.get("EMULATED", "2"))


@pytest.mark.parametrize("operator", CALLS)
def test_shapes_do_not_matter(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, call = CALLS[operator]
    for seed in range(COUNT):
        expected = [output.numpy() for output in call(np.random.default_rng(seed))]
        again = lambda seed=seed: call(np.random.default_rng(seed))  # noqa: E731
        found = run(record(module, again, monkeypatch, operator.endswith("in order"))[-1], tmp_path)
        for output, other in zip(found, expected, strict=False):  # behind them is working memory
            assert output.shape == other.shape
            close = max(closeness(output), closeness(other))  # on a CPU, numbers of float16 may be in float32
            tolerance = close * max(np.abs(other).max(initial=0), 1e-30)
            np.testing.assert_allclose(output, other, rtol=close, atol=tolerance, err_msg=f"seed {seed}")
