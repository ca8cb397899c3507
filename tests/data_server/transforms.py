"""Pipeline steps, a data set and a metric for tests, brought in by ``custom_imports`` as a user's own would be."""

import os
import random
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from mmengine import fileio
from mmengine.evaluator import BaseMetric


@TRANSFORMS.register_module()
class Deadly(BaseTransform):
    """Kills the worker at some images: by a signal, or by leaving with an exit code."""

    def __init__(self, images: tuple[int, ...] = (103,), signal_name: str = "SIGSEGV", code: int = 0) -> None:
        self.images, self.signal_name, self.code = images, signal_name, code

    def transform(self, results: dict) -> dict:
        if results["img_id"] in self.images:
            if self.code:
                os._exit(self.code)
            os.kill(os.getpid(), signal.Signals[self.signal_name])
        return results


@TRANSFORMS.register_module()
class Rejecting(BaseTransform):
    """Has no use for some images, so that MMDetection takes others."""

    def __init__(self, images: tuple[int, ...]) -> None:
        self.images = images

    def transform(self, results: dict) -> dict | None:
        return None if results["img_id"] in self.images else results


@TRANSFORMS.register_module()
class Hoarding(BaseTransform):
    """Keeps some memory of every image for itself."""

    def __init__(self, mib: int) -> None:
        self.mib = mib
        self.hoard: list[np.ndarray] = []

    def transform(self, results: dict) -> dict:
        self.hoard.append(np.ones(self.mib << 20, np.uint8))
        return results


@TRANSFORMS.register_module()
class Leaving(BaseTransform):
    """Ends the program, as a library's ``sys.exit`` would."""

    def transform(self, results: dict) -> dict:
        if results["img_id"] == 103:
            raise SystemExit("no licence")
        return results


@TRANSFORMS.register_module()
class Shouting(BaseTransform):
    """Fails at one image, with a text that would clear a terminal."""

    def transform(self, results: dict) -> dict:
        if results["img_id"] == 103:
            raise ValueError("\x1b[2J\x07 all is well")
        return results


@TRANSFORMS.register_module()
class Greedy(BaseTransform):
    """Takes ever more memory at one image, though not in a rehearsal, whose seeds are small numbers."""

    def transform(self, results: dict) -> dict:
        if results["img_id"] == 103 and torch.initial_seed() >> 20:
            taken = []
            for _ in range(200):
                taken.append(np.ones(16 << 20, np.uint8))
                time.sleep(0.01)
        return results


@TRANSFORMS.register_module()
class Stuck(BaseTransform):
    """Waits for ever at some images."""

    def __init__(self, images: tuple[int, ...] = (103,)) -> None:
        self.images = images

    def transform(self, results: dict) -> dict:
        while results["img_id"] in self.images:
            time.sleep(1)
        return results


@TRANSFORMS.register_module()
class Busy(Stuck):
    """Computes for ever at some images."""

    def transform(self, results: dict) -> dict:
        while results["img_id"] in self.images:
            pass
        return results


@TRANSFORMS.register_module()
class LoadsAnother(BaseTransform):
    """Reads a second file for an image, as Mosaic and Copy-Paste do."""

    def __init__(self, path: str) -> None:
        self.path = path

    def transform(self, results: dict) -> dict:
        fileio.get(self.path)
        return results


@TRANSFORMS.register_module()
class Remembering(BaseTransform):
    """Mixes every image with the one before."""

    before: np.ndarray | None = None

    def transform(self, results: dict) -> dict:
        image, before = results["img"], self.before
        self.before = image.copy()
        if before is not None and before.shape == image.shape:
            results["img"] = image // 2 + before // 2
        return results


@TRANSFORMS.register_module()
class OwnGenerator(BaseTransform):
    """Draws from a generator of its own, in other words from one that nobody seeds."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def transform(self, results: dict) -> dict:
        results["img"] = results["img"] ^ self.generator.integers(0, 2, dtype=np.uint8)
        return results


@TRANSFORMS.register_module(name="OldAlbu")
class Albu(OwnGenerator):
    """MMDetection's `Albu` around a transform whose generator cannot be seeded from outside."""

    __module__ = "mmdet.datasets.transforms.transforms"


@TRANSFORMS.register_module()
class Clock(BaseTransform):
    """Draws from the time of day."""

    def transform(self, results: dict) -> dict:
        results["img"] = results["img"] ^ np.uint8(time.time_ns() // 1000 % 256)
        return results


@TRANSFORMS.register_module()
class Pure(BaseTransform):
    """Draws from all generators that are seeded."""

    def transform(self, results: dict) -> dict:
        drawn = random.randrange(9), np.random.randint(9), int(torch.randint(9, ()))
        results["img"] = results["img"] ^ np.uint8(sum(drawn))
        return results


class Composition:
    """What albumentations has since it draws from generators of its own."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng()

    def set_random_seed(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)


@TRANSFORMS.register_module()
class Composed(BaseTransform):
    """Runs a composition as `Albu` does."""

    def __init__(self) -> None:
        self.aug = Composition()

    def transform(self, results: dict) -> dict:
        results["img"] = results["img"] ^ self.aug.generator.integers(0, 99, dtype=np.uint8)
        return results


@TRANSFORMS.register_module()
class Slow(BaseTransform):
    """Takes its time, so that a worker can be met at work."""

    def transform(self, results: dict) -> dict:
        time.sleep(0.03)
        return results


@TRANSFORMS.register_module()
class Laborious(BaseTransform):
    """Takes a processor's time, so that others help."""

    def transform(self, results: dict) -> dict:
        end = time.process_time() + 0.03
        while time.process_time() < end:
            pass
        return results


@TRANSFORMS.register_module()
class LenientLoad(BaseTransform):
    """Decodes what is there of a JPEG and leaves the rest grey, as OpenCV 4.10 does."""

    def transform(self, results: dict) -> dict:
        data = Path(results["img_path"]).read_bytes() + b"\xff\xd9"
        results["img"] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class NeedsMasks(BaseTransform):
    """Fails on an image whose boxes have no masks of its size."""

    def transform(self, results: dict) -> dict:
        masks = results["gt_masks"]
        assert len(masks) == len(results["gt_bboxes"]) and (masks.height, masks.width) == results["img"].shape[:2]
        return results


@METRICS.register_module()
class SlowMetric(BaseMetric):
    """Takes its time to count images, so that its evaluator can be met at work."""

    def process(self, _: dict, data_samples: list) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list) -> dict:
        time.sleep(1)
        return {"images": len(results)}


@DATASETS.register_module()
class Forgetful(CocoDataset):
    """Can be built, and then not be asked about an image."""

    def get_data_info(self, idx: int) -> dict:
        raise KeyError(f"image {idx}")
