"""What MMDetection alone makes of some images: ``python -m tests.data_server.reference arrays.npz < request``.

The request is JSON: the data set's config (as plain data) and [index, seed] pairs. Nothing of the data server is used
but what fills caches (`benchmarks.filled_caches`), and the pipeline runs to its end, `PackDetInputs` included.
"""

import json
import sys

import mmdet.datasets  # noqa: F401
import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from benchmarks.filled_caches import fill_caches, seed_all
from shared.data_part import from_plain


def main() -> None:
    request = json.load(sys.stdin)
    DefaultScope.get_instance("reference", scope_name="mmdet")
    dataset = DATASETS.build(ConfigDict(from_plain(request["dataset"])))
    fill_caches(dataset)
    arrays = {}
    for row, (index, seed) in enumerate(request["samples"]):
        seed_all(seed)
        packed = dataset[index]
        sample = packed["data_samples"]
        arrays |= {
            f"image {row}": packed["inputs"].permute(1, 2, 0).numpy(),
            f"boxes {row}": sample.gt_instances.bboxes.tensor.numpy(),
            f"labels {row}": sample.gt_instances.labels.numpy(),
            f"crowds {row}": sample.ignored_instances.bboxes.tensor.numpy(),
            f"shapes {row}": np.array([*sample.img_shape, *sample.ori_shape]),
            f"scale {row}": np.array(sample.scale_factor),
            f"flip {row}": np.array(bool(sample.get("flip"))),
            f"id {row}": np.array(sample.img_id),
        }
    np.savez(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
