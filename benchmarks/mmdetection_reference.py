"""What MMDetection alone makes of some images: a contender (`benchmarks.rounds`) without anything of the data server,
but that the caches of its transforms are filled as there (`benchmarks.filled_caches`).

    request   {"dataset": config, "custom_imports", "samples": [[index, seed], …], "file": F.npz}, plain data
    answer    {"made": n}, or with the error of the first sample that cannot be made {"made": n, "error": text}

The pipeline runs to its end, `PackDetInputs` included. Of sample k, F.npz has ``image k`` (h,w,3) as the pipeline
yields it, ``boxes k`` and ``crowds k`` f32 (n,4), ``labels k``, ``shape k`` of the file, ``scale k``.
"""

from __future__ import annotations

import contextlib
import gc
import io
import warnings
from typing import Any

import mmdet.datasets  # noqa: F401 - fills the registry
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.utils import import_modules_from_strings

from benchmarks.filled_caches import fill_caches, seed_all
from benchmarks.rounds import answer_rounds
from shared.data_part import from_plain


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    DefaultScope.get_instance("reference", scope_name="mmdet")
    gc.freeze()  # MMEngine collects garbage for every data set: half a second, if all of torch is looked at
    answer_rounds(_made)


def _made(request: dict[str, Any]) -> dict[str, Any]:
    arrays: dict[str, np.ndarray] = {}
    made, error = 0, None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # only the answer goes to stdout
            if request["custom_imports"]:
                import_modules_from_strings(**from_plain(request["custom_imports"]))
            config = from_plain(request["dataset"])
            dataset = DATASETS.build(ConfigDict(config))
            fill_caches(dataset)
            for row, (index, seed) in enumerate(request["samples"]):
                seed_all(seed)
                arrays |= {f"{name} {row}": array for name, array in _arrays(dataset[index]).items()}
                made += 1
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    np.savez(request["file"], **arrays)
    return {"made": made, **({"error": error} if error else {})}


def _arrays(packed: dict[str, Any]) -> dict[str, np.ndarray]:
    sample = packed["data_samples"]
    truths, crowds = sample.get("gt_instances", {}), sample.get("ignored_instances", {})
    return {
        "image": packed["inputs"].permute(1, 2, 0).numpy(),
        "boxes": _boxes(truths),
        "labels": truths["labels"].numpy() if "labels" in truths else np.zeros(0, np.int64),
        "crowds": _boxes(crowds),
        "shape": np.array(sample.get("ori_shape", packed["inputs"].shape[1:])[:2]),
        "scale": np.array(sample.get("scale_factor", (1.0, 1.0))),
    }


def _boxes(instances: Any) -> np.ndarray:
    boxes = instances["bboxes"] if "bboxes" in instances else np.zeros((0, 4))
    return np.asarray(getattr(boxes, "tensor", boxes), np.float32)


if __name__ == "__main__":
    main()
