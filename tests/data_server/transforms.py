"""Pipeline steps for tests, brought in by ``custom_imports`` as a user's own would be."""

import os
import signal
import time

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
