"""Pipeline steps for tests, brought in by ``custom_imports`` as a user's own would be."""

import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Deadly(BaseTransform):
    """Kills the worker at one image."""

    def transform(self, results: dict) -> dict:
        if results["img_id"] == 103:
            os.kill(os.getpid(), signal.SIGKILL)
        return results


@TRANSFORMS.register_module()
class Slow(BaseTransform):
    """Takes its time, so that a worker can be met at work."""

    def transform(self, results: dict) -> dict:
        time.sleep(0.03)
        return results


@TRANSFORMS.register_module()
class LenientLoad(BaseTransform):
    """Decodes what is there of a JPEG and leaves the rest grey, as OpenCV 4.10 does."""

    def transform(self, results: dict) -> dict:
        data = Path(results["img_path"]).read_bytes() + b"\xff\xd9"
        results["img"] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results
