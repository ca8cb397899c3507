"""The CUDA side of every operator goes through nvcc, wherever there is one; running it takes a GPU.

Each operator is called on the CPU while the calls of jt.code are recorded; of each, a whole file is written as Jittor
writes it.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.boxes.assign import MaxIoUAssigner
from trainer.models.boxes.sample import RandomSampler
from trainer.models.ops.nms import nms
from trainer.models.ops.roi_align import roi_align
from trainer.models.ops.soft_nms import soft_nms

BOXES = var(np.array([[0, 0, 10, 10], [2, 2, 9, 12], [20, 20, 30, 40]], np.float32))


def align_and_differentiate() -> None:
    maps = [jt.rand(1, 2, 8 // 2**i, 8 // 2**i) for i in range(4)]
    rois = jt.concat([jt.zeros((3, 1)), BOXES], 1)
    jt.grad(roi_align(maps, [4, 8, 16, 32], rois, var([0, 1, 2], "int32"), 7).sum(), maps)


OPERATORS = {
    "assign": lambda: MaxIoUAssigner(0.7, 0.3, 0.3)(
        BOXES.unsqueeze(0), jt.ones((1, 3), "bool"), BOXES.unsqueeze(0), var([2], "int32")
    ),
    "sample": lambda: RandomSampler(4, 0.5)(var([[0, 1, -1, 0, 0]], "int32")),
    "nms": lambda: nms(BOXES.unsqueeze(0), jt.rand(1, 3), 0.5, 0.0, 3),
    "soft_nms": lambda: soft_nms(BOXES, jt.rand(3, 4), 0.0, 3),
    "roi_align": align_and_differentiate,
}


def whole_file(shapes: list, dtypes: list, inputs: list, cuda_header: str, cuda_src: str) -> str:
    """What Jittor declares around an operator's header and source (its code_op.cc)."""
    sides = {"in": [(x.dtype, len(x.shape)) for x in inputs], "out": list(zip(dtypes, map(len, shapes), strict=True))}
    lines = []
    for side, tensors in sides.items():
        for i, (dtype, rank) in enumerate(tensors):
            lines += [
                f"Var {side}{i}_var; Var* {side}{i} = &{side}{i}_var;",
                f"{dtype}* __restrict__ {side}{i}_p = nullptr;",
                *(f"index_t {side}{i}_shape{axis} = 1;" for axis in range(rank)),
            ]
    declarations = "\n".join(lines)
    return f"""
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <cuda_runtime.h>
namespace jittor {{
typedef int int32; typedef long long int64; typedef int64 index_t; typedef float float32;
struct Var {{ int64 num, size; }};
}}
{cuda_header}
namespace jittor {{
void run(std::map<std::string, double>& data) {{
{declarations}
{cuda_src}
}}
}}
"""


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: CUDA sources are not compiled")
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_cuda_source_compiles(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[str] = []
    run_on_cpu: Callable = jt.code

    def record(shapes: list | tuple, dtypes: list | str, inputs: list, **sources: object) -> object:
        if "cuda_src" in sources:
            alone = isinstance(dtypes, str)
            files.append(
                whole_file(
                    [shapes] if alone else shapes,
                    [dtypes] if alone else dtypes,
                    inputs,
                    sources.get("cuda_header", ""),
                    sources["cuda_src"],
                )
            )
        return run_on_cpu(shapes, dtypes, inputs, **sources)

    monkeypatch.setattr(jt, "code", record)
    OPERATORS[operator]()
    assert len(files) == (2 if operator == "roi_align" else 1)
    for i, text in enumerate(files):
        source = tmp_path / f"{i}.cu"
        source.write_text(text)
        # Checked down to PTX, which needs no choice of a GPU.
        command = ["nvcc", "--ptx", "-std=c++17", "--use_fast_math", "-o", str(source.with_suffix(".ptx")), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
