"""Whose operators PyTorch's side of the step benchmark has, where mmcv's own are not compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ASK = """
import importlib.util, sys
from benchmarks.networks import mmcv_operators
if importlib.util.find_spec("mmcv._ext"):
    sys.exit("compiled")
mmcv_operators.stand_in()
import mmdet.models, torch
print(mmcv_operators.are_compiled(), mmcv_operators.choose("cpu"))
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 60, 60]])
try:
    print(sys.modules["mmcv.ops.nms"].nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5)[1].tolist())
except RuntimeError as error:
    print(error)
"""
# A torchvision that fits this torch: NMS is a walk down the scores.
TORCHVISION = """
import types, torch
def nms(boxes, scores, iou_threshold):
    kept = []
    for i in scores.argsort(descending=True).tolist():
        low = torch.maximum(boxes[i, :2], boxes[kept, :2]); high = torch.minimum(boxes[i, 2:], boxes[kept, 2:])
        common = (high - low).clamp(min=0).prod(1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        if not (common / (area[i] + area[kept] - common) > iou_threshold).any():
            kept.append(i)
    return torch.tensor(kept)
ops = types.SimpleNamespace(nms=nms)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("torchvision", "said"),
    [
        (TORCHVISION, ["False torchvision", "[1, 2]"]),
        ("raise RuntimeError('made for another torch')", ["False None", "mmcv has no compiled operator nms"]),
    ],
    ids=["there", "of another torch"],
)
def test_nms_is_torchvisions_where_that_fits_and_nobodys_else(
    torchvision: str, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "torchvision.py").write_text(torchvision)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "compiled" in done.stderr.splitlines()[-1:]:
        pytest.skip("mmcv's own operators are compiled here")
    assert done.stdout.splitlines()[-2:] == said, done.stderr
