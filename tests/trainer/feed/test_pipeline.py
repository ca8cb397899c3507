"""A test pipeline gives the pixels that MMDetection's gives, for every known setting; all others are refused."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from shared.errors import UserError
from tests.cluster import ROOT
from tests.trainer.feed.test_images import write_odd_images
from trainer.feed.loader import CV2_FLAGS, BadImage
from trainer.feed.pipeline import Pipeline, pipeline_of
from trainer.feed.transforms import CV2_INTERPOLATION, PILLOW_INTERPOLATION

pytestmark = pytest.mark.slow  # MMDetection's pixels come from a process of its own

LOAD, PACK = {"type": "LoadImageFromFile"}, {"type": "PackDetInputs"}
RESIZE = {"type": "Resize", "scale": (128, 96), "keep_ratio": True}
LOADERS = [
    {**LOAD, "color_type": colour, "imdecode_backend": backend, "to_float32": floats}
    for colour, backend, floats in itertools.product(CV2_FLAGS, ("cv2", "pillow"), (False, True))
]
SIZES = [
    {"type": kind, "keep_ratio": keep, **size}
    for kind, keep, size in itertools.product(
        ("Resize", "FixScaleResize"),
        (True, False),
        (
            {"scale": (131, 97)},
            {"scale": (97, 131)},
            {"scale": 77},
            {"scale_factor": 0.37},
            {"scale_factor": (1.5, 0.7)},
            {"scale": (64, 64), "scale_factor": 0.5},
        ),
    )
]
INTERPOLATIONS = [
    {**RESIZE, "backend": backend, "interpolation": name}
    for backend, names in (("cv2", CV2_INTERPOLATION), ("pillow", PILLOW_INTERPOLATION), (None, CV2_INTERPOLATION))
    for name in names
]
OTHERS = [
    {"type": "ResizeShortestEdge", "scale": 60},
    {"type": "ResizeShortestEdge", "scale": (80, 60), "max_size": 71},
    {"type": "ResizeShortestEdge", "scale": 61, "max_size": 73, "keep_ratio": True, "interpolation": "area"},
    {"type": "ResizeShortestEdge", "scale": 61, "resize_type": "mmdet.FixScaleResize", "keep_ratio": True},
    {"type": "FixShapeResize", "width": 90, "height": 64},
    {"type": "FixShapeResize", "width": 90, "height": 64, "keep_ratio": True},
    {"type": "FixShapeResize", "width": 64, "height": 90, "keep_ratio": True, "pad_val": {"img": (1, 2, 3)}},
    {"type": "mmdet.Resize", "_scope_": "mmdet", "scale": (50, 40), "clip_object_border": False},
    {"type": "Pad", "size": (200, 150)},
    {"type": "Pad", "size": (20, 150), "pad_val": {"img": (114, 3, 250)}},
    {"type": "Pad", "size_divisor": 32, "pad_val": 114},
    {"type": "Pad", "pad_to_square": True, "size_divisor": 48, "pad_val": {"img": 9, "seg": 255}},
    *({"type": "Pad", "size": (260, 290), "padding_mode": mode} for mode in ("edge", "reflect", "symmetric")),
]
PIPELINES = [
    *([loader, RESIZE, PACK] for loader in LOADERS),
    *([LOAD, size, {"type": "LoadAnnotations", "with_bbox": True}, PACK] for size in SIZES),
    *([LOAD, one, PACK] for one in (*INTERPOLATIONS, *OTHERS)),
    *([LOADERS[1], one, PACK] for one in (*SIZES, *OTHERS)),
    [LOAD, RESIZE, {"type": "Pad", "size_divisor": 32}, PACK],
    [LOAD, {"type": "Pad", "pad_to_square": True, "pad_val": 7}, RESIZE, PACK],
    [{**LOAD, "backend_args": {"backend": "local"}, "ignore_empty": True}, RESIZE, PACK],
    [{**LOAD, "file_client_args": {"backend": "disk"}}, RESIZE, {**PACK, "meta_keys": ("img_id",)}],
    [
        {**LOAD, "type": "mmcv.LoadImageFromFile"},
        {**RESIZE, "type": "mmcv.Resize"},
        {**PACK, "type": "mmdet.PackDetInputs"},
    ],
    [LOAD, PACK],
]
BY_MMDETECTION = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
import mmdet.datasets.transforms
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
DefaultScope.get_instance("test", scope_name="mmdet")
pipelines, files, out = Config.fromfile(sys.argv[1]).pipelines, json.loads(sys.argv[2]), {}
for number, steps in enumerate(pipelines):
    transforms = [TRANSFORMS.build(step) for step in steps if "Pack" not in step["type"]]
    for place, file in enumerate(files):
        results = {"img_path": file, "instances": [], "height": 1, "width": 1}
        try:
            for transform in transforms:
                results = transform(results)
            out[f"{number}.{place}"] = results["img"]
            out[f"{number}.{place}.factor"] = np.array(results.get("scale_factor", (1, 1)), np.float32)
        except Exception as error:
            out[f"{number}.{place}.error"] = np.array(repr(error))
np.savez(sys.argv[3], **out)
"""


def pipeline(steps: list[dict], **more: object) -> Pipeline:
    return pipeline_of(Config({"test_dataloader": {"dataset": {"type": "CocoDataset", "pipeline": steps}}, **more}))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures that decoders treat differently; EXIF orientation in JPEG, WebP, TIFF and PNG."""
    folder = tmp_path_factory.mktemp("odd")
    files = write_odd_images(folder)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = Image.open(files[0]).convert("RGB")
    for suffix in ("webp", "tif", "png"):
        files.append(folder / "images" / f"turned.{suffix}")
        picture.save(files[-1], exif=turned)
    grey = np.arange(60 * 90, dtype=np.uint8).reshape(60, 90)
    files.append(folder / "images" / "la.png")
    Image.fromarray(np.stack([grey, grey.T.reshape(60, 90)], -1), "LA").save(files[-1])
    return files


@pytest.fixture(scope="module")
def theirs(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What MMDetection makes of all files in all pipelines, in a process of its own."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "pipelines.py").write_text(f"pipelines = {PIPELINES!r}\n")
    arguments = [str(folder / "pipelines.py"), json.dumps([str(file) for file in files]), str(folder / "out.npz")]
    subprocess.run([sys.executable, "-c", BY_MMDETECTION, *arguments], check=True, cwd=ROOT)
    with np.load(folder / "out.npz") as out:
        return dict(out)


@pytest.mark.parametrize("number", range(len(PIPELINES)))
def test_every_known_pipeline_gives_the_pixels_of_mmdetection(
    number: int, files: list[Path], theirs: dict[str, np.ndarray]
) -> None:
    ours, compared = pipeline(PIPELINES[number]), 0
    for place, file in enumerate(files):
        expected = theirs.get(f"{number}.{place}")
        if expected is None or expected.ndim != 3 or expected.shape[2] != 3 or expected.max() > 1024:  # 16 bits
            with pytest.raises(BadImage):
                ours(ours.read(file))
            continue
        image, factors = ours(ours.read(file))
        np.testing.assert_array_equal(image, np.clip(np.rint(expected), 0, 255).astype(np.uint8), str(file))
        np.testing.assert_array_equal(factors, np.tile(theirs[f"{number}.{place}.factor"], 2))
        assert abs(image - np.clip(expected.astype(np.float64), 0, 255)).max() <= 0.5
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([LOAD, {"type": "RandomFlip", "prob": 0.5}, PACK], r"transform 1 .*'RandomFlip'.*take it out"),
        ([LOAD, {"type": "mypackage.Resize", "scale": 64}, PACK], r"'mypackage.Resize'.*not supported"),
        ([LOAD, {"type": "Resize", "scale": 64, "_scope_": "mmyolo"}, PACK], r"'Resize'.*not supported"),
        ([{**LOAD, "color_type": "grayscale"}, PACK], r"LoadImageFromFile.color_type is 'grayscale'; expected 'color'"),
        ([{**LOAD, "imdecode_backend": "turbojpeg"}, PACK], r"imdecode_backend is 'turbojpeg'; expected 'cv2' or"),
        ([{**LOAD, "backend_args": {"backend": "petrel"}}, PACK], r"backend_args is .*petrel.*expected None"),
        ([{**LOAD, "colour_type": "color"}, PACK], r"unknown key 'colour_type' \(did you mean 'color_type'"),
        ([LOAD, {**RESIZE, "interpolation": "hamming"}, PACK], r"interpolation of backend 'cv2' is 'hamming'"),
        ([LOAD, {**RESIZE, "interpolation": "area", "backend": "pillow"}, PACK], r"backend 'pillow' is 'area'"),
        ([LOAD, {**RESIZE, "scale": [128, 96]}, PACK], r"Resize.scale is \[128, 96\]; expected .* tuple"),
        ([LOAD, {**RESIZE, "scale": 0.5}, PACK], r"Resize.scale is 0.5"),
        ([LOAD, {"type": "Resize", "scale_factor": 2}, PACK], r"Resize.scale_factor is 2; expected a float"),
        ([LOAD, {"type": "Resize", "scale_factor": 0.0}, PACK], r"Resize.scale_factor is 0.0; expected a float"),
        ([LOAD, {"type": "Resize", "keep_ratio": True}, PACK], r"neither scale nor scale_factor"),
        ([LOAD, {**RESIZE, "keep_ratio": "yes"}, PACK], r"keep_ratio is 'yes'"),
        ([LOAD, {**RESIZE, "max_size": 9}, PACK], r"Resize: unknown key 'max_size'"),
        ([LOAD, RESIZE, {**RESIZE, "type": "FixScaleResize"}, PACK], r"FixScaleResize follows Resize"),
        ([LOAD, {"type": "Pad"}, PACK], r"none of size, size_divisor and pad_to_square"),
        ([LOAD, {"type": "Pad", "size": (8, 8), "pad_to_square": True}, PACK], r"size goes with neither"),
        ([LOAD, {"type": "Pad", "size": (8, 8), "pad_val": 0.5}, PACK], r"Pad.pad_val is 0.5"),
        ([LOAD, {"type": "Pad", "size": (8, 8), "padding_mode": "wrap"}, PACK], r"padding_mode is 'wrap'"),
        (
            [LOAD, {"type": "FixShapeResize", "width": 8, "height": 8, "scale": (8, 8)}, PACK],
            r"FixShapeResize: unknown key 'scale'",
        ),
        ([LOAD, {"type": "FixShapeResize", "width": 8}, PACK], r"width and height are both needed"),
        ([LOAD, {"type": "ResizeShortestEdge", "max_size": 8}, PACK], r"ResizeShortestEdge: scale is missing"),
        ([LOAD, {"type": "ResizeShortestEdge", "scale": 8, "resize_type": "Mine"}, PACK], r"resize_type is 'Mine'"),
        ([{**LOAD, "to_float32": True}, {**RESIZE, "backend": "pillow"}, PACK], r"Resize.backend .*to_float32"),
        ([RESIZE, LOAD, PACK], r"Resize comes before LoadImageFromFile"),
        ([LOAD, LOAD, PACK], r"LoadImageFromFile comes a second time"),
        ([PACK], r"has no LoadImageFromFile"),
        ([LOAD, {"type": "LoadAnnotations", "with_boxes": True}, PACK], r"LoadAnnotations: unknown key 'with_boxes'"),
        ([LOAD, {"type": "LoadProposals", "num_max_proposals": 0}, PACK], r"num_max_proposals is 0"),
    ],
)
def test_what_is_not_known_is_refused_by_name(steps: list[dict], says: str) -> None:
    with pytest.raises(UserError, match=says):
        pipeline(steps)


def test_a_picture_that_would_have_no_pixels_is_a_bad_image() -> None:
    with pytest.raises(BadImage, match="100x3 pixels cannot be resized to 20x0"):
        pipeline([LOAD, {"type": "FixScaleResize", "scale": (20, 20), "keep_ratio": True}, PACK])(
            np.zeros((3, 100, 3), np.uint8)
        )


def test_a_picture_beyond_pillows_limit_is_read_also_with_bytes_behind_its_end(tmp_path: Path) -> None:
    path = tmp_path / "panorama.jpg"
    cv2.imwrite(str(path), np.zeros((9500, 20000, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content + bytes(100))
    assert Pipeline().read(path).shape == (9500, 20000, 3)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadImage, match="truncated"):
        Pipeline().read(path)


def test_a_config_without_a_test_pipeline_is_named() -> None:
    config = Config({"train_dataloader": {"dataset": {"pipeline": [LOAD, PACK]}}}, "text", "a.py")
    with pytest.raises(UserError, match=r"config 'a\.py' has no test pipeline \(test_dataloader"):
        pipeline_of(config)
