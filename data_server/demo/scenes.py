"""Generates the demo data set: drawn objects over photographs, in COCO's format, in seconds and without a download.

The photographs are those inside scikit-image's wheel. The same seed and numbers of images give the same bytes::

    OUT/
      scenes.json                       what was made: generator version, seed, numbers of images
      train_a.json  .npy  train_a/      two training sets with vocabularies that overlap partly
      train_b.json  .npy  train_b/
      val_base.json  .npy  val_base/    names that occur in a training set
      val_never_seen.json  .npy  ...    names that occur in none, though each of their words does

``.json`` is COCO (boxes and areas of the visible pixels); ``.npy`` holds the text embeddings, (C, D) float32, one row
per category in ascending id, ``.names.json`` their names; the folder holds JPEG files. Only names of a set's own
vocabulary are drawn in it, and every drawn object is annotated. How one picture comes about::

    photograph ─► crop, flip, blur, soften ─► objects, back to front ─► noise ─► JPEG
                                                 │ placed only where the colour stands out from what is behind it
                                                 └ and where every earlier object stays visible enough
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from data_server.demo.objects import Light, Patch, draw_object
from data_server.demo.vocabulary import TRAINING_SETS, VALIDATION_SETS, categories, text_embeddings
from shared.embeddings import write_embeddings
from shared.errors import UserError
from shared.files import reported

GENERATOR = "unidetector-jittor scenes"
VERSION = 2  # of the generator: raise it whenever a byte of the output changes
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "rocket.jpg",
)
IMAGE_SIZES = ((192, 144), (144, 192), (160, 160))  # (width, height)
MAX_OBJECTS = 6
MIN_VISIBLE = 0.4  # of an object's pixels, after occlusion and the image's border
MIN_INSIDE = 0.7  # of an object's pixels, before others hide some
MIN_CONTRAST = 75.0  # distance in BGR between an object and what it covers
MARGIN = 72  # pixels around the image while drawing, so that half of the largest patch fits outside
PLACES = 12  # tried for an object before it is given up


@dataclass
class SceneObject:
    """One object of a scene.

    `visible` is an (H, W) bool mask over the image without its margin; `pixels` counts the object's hidden pixels too.
    """

    name: str
    visible: np.ndarray
    pixels: int

    @property
    def box(self) -> list[int]:
        """Tight [x, y, width, height] of the visible pixels."""
        columns, rows = np.flatnonzero(self.visible.any(0)), np.flatnonzero(self.visible.any(1))
        return [int(v) for v in (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)]


def generate(out: Path, seed: int = 0, train_images: int = 400, val_images: int = 80, dimension: int = 64) -> None:
    """Write the four sets into the folder `out`, which appears complete or not at all.

    Args:
        out: the folder. Does nothing when it already holds exactly this; replaces another data set of this generator.
        seed: of everything that is drawn. The vocabularies and embeddings do not depend on it.
        train_images: in each training set.
        val_images: in each validation set.
        dimension: D of the text embeddings.

    Raises:
        UserError: a number is out of range, `out` holds something else, or scikit-image ships no photographs.
    """
    for what, value, least in [
        ("the seed", seed, 0),
        ("the number of training images", train_images, 1),
        ("the number of validation images", val_images, 1),
        ("the embedding dimension", dimension, 2),
    ]:
        if value < least:
            raise UserError(f"{what} is {value}, expected at least {least}")
    out = out.resolve()
    recipe = {
        "generator": GENERATOR,
        "version": VERSION,
        "seed": seed,
        "train_images": train_images,
        "val_images": val_images,
        "dimension": dimension,
    }
    made_before = _recipe_of(out)
    if made_before == recipe:
        return

    cv2.setNumThreads(0)  # the images are small: OpenCV's threads would cost more than they give
    photographs = [_read_photograph(name) for name in PHOTOGRAPHS]
    with reported(out, "free some space, or give another folder"), _scratch(out) as scratch:
        fresh = scratch / "fresh"
        fresh.mkdir()
        for index, dataset in enumerate(TRAINING_SETS + VALIDATION_SETS):
            count = train_images if dataset in TRAINING_SETS else val_images
            _write_set(fresh, dataset, count, np.random.default_rng([seed, index]), photographs, dimension)
        (fresh / "scenes.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
        if made_before is not None:
            out.rename(scratch / "replaced")
        try:
            fresh.rename(out)
        except OSError:
            if made_before is not None:
                (scratch / "replaced").rename(out)
            raise


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, which is gone afterwards. One that a kill has left is taken, by one process at a
    time."""
    out.parent.mkdir(parents=True, exist_ok=True)
    parent = os.open(out.parent, os.O_RDONLY)
    folder = out.with_name(f".{out.name}.partial")
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # the data set is there, or why it is not is known
    finally:
        os.close(parent)


def _recipe_of(out: Path) -> dict | None:
    """What ``scenes.json`` in `out` says; None when `out` is missing or empty. Anything else is not ours to replace."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        recipe = json.loads((out / "scenes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recipe = None
    if not isinstance(recipe, dict) or recipe.get("generator") != GENERATOR:
        raise UserError(f"{out} exists and was not made by the scene generator; give a new or empty folder")
    return recipe


def _read_photograph(name: str) -> np.ndarray:
    """A photograph of scikit-image's wheel, (H, W, 3) uint8 BGR. Read as a file: ``skimage.data`` might download."""
    try:
        with (files("skimage.data") / name).open("rb") as file:
            # Not cv2.imdecode: its libpng warns on stderr about the colour profiles of two of the files.
            return np.asarray(Image.open(file).convert("RGB"))[..., ::-1].copy()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError(f"scikit-image's photograph {name} is missing; pip install -e '.[data-server]'") from error


def _write_set(
    folder: Path, dataset: str, count: int, rng: np.random.Generator, photographs: list[np.ndarray], dimension: int
) -> None:
    vocabulary = categories(dataset)
    id_of = {category["name"]: category["id"] for category in vocabulary}
    deck = _deck(rng, list(id_of))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / dataset).mkdir()
    for image_id in range(1, count + 1):
        picture, objects = draw_scene(rng, photographs, deck)
        file_name = f"{image_id:06d}.jpg"
        # Not cv2.imwrite, which writes half a picture to a disk that is full and says nothing.
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / dataset / file_name).write_bytes(encoded.tobytes())
        images.append({"id": image_id, "file_name": file_name, "width": picture.shape[1], "height": picture.shape[0]})
        for item in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": id_of[item.name],
                    "bbox": item.box,
                    "area": int(item.visible.sum()),
                    "iscrowd": 0,
                }
            )
    document = {"images": images, "annotations": annotations, "categories": vocabulary}
    (folder / f"{dataset}.json").write_text(json.dumps(document), encoding="utf-8")
    write_embeddings(folder / f"{dataset}.npy", text_embeddings(list(id_of), dimension), list(id_of))


def _deck(rng: np.random.Generator, names: list[str]) -> Iterator[str]:
    """Names without end, each once before any comes again, so that no category is left without objects."""
    while True:
        yield from rng.permutation(names).tolist()


def draw_scene(
    rng: np.random.Generator, photographs: list[np.ndarray], deck: Iterator[str]
) -> tuple[np.ndarray, list[SceneObject]]:
    """One picture, (H, W, 3) uint8 BGR, and its 1 to 6 objects, back to front, named by the next names of `deck`."""
    width, height = IMAGE_SIZES[rng.integers(len(IMAGE_SIZES))]
    background = _background(rng, photographs[rng.integers(len(photographs))], width, height)
    canvas: np.ndarray = cv2.copyMakeBorder(background, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT)
    towards_light = rng.uniform(0, 2 * np.pi)
    light = Light((float(np.cos(towards_light)), float(np.sin(towards_light))), strength=rng.uniform(0.85, 1.08))
    objects: list[SceneObject] = []
    wanted = int(rng.integers(1, MAX_OBJECTS + 1))
    while wanted > 0 or not objects:
        name = next(deck)
        _place(rng, canvas, objects, name, draw_object(rng, name, light))
        wanted -= 1
    picture = canvas[MARGIN : MARGIN + height, MARGIN : MARGIN + width]
    picture += rng.uniform(1, 4) * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8), objects


def _background(rng: np.random.Generator, photograph: np.ndarray, width: int, height: int) -> np.ndarray:
    """A blurred, softened crop of the photograph, (height, width, 3) float32 BGR."""
    fit = min(photograph.shape[1] / width, photograph.shape[0] / height) * rng.uniform(0.6, 1.0)
    crop_width, crop_height = int(width * fit), int(height * fit)
    x = rng.integers(photograph.shape[1] - crop_width + 1)
    y = rng.integers(photograph.shape[0] - crop_height + 1)
    crop = photograph[y : y + crop_height, x : x + crop_width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    resized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if fit > 1 else cv2.INTER_LINEAR)
    blurred = cv2.GaussianBlur(resized.astype(np.float32), (0, 0), rng.uniform(1.2, 3.0))
    softness, tint = np.float32(rng.uniform(0.5, 0.85)), rng.uniform(-18, 18, 3).astype(np.float32)
    mean = np.array(cv2.mean(blurred)[:3], np.float32)
    return blurred * softness + (mean * (1 - softness) + tint)


def _place(rng: np.random.Generator, canvas: np.ndarray, objects: list[SceneObject], name: str, patch: Patch) -> None:
    """Lay the patch over the canvas and add it to `objects`; leave both as they are when no tried place is good."""
    image_height, image_width = canvas.shape[0] - 2 * MARGIN, canvas.shape[1] - 2 * MARGIN
    height, width = patch.opacity.shape
    mask = patch.mask
    may_overlap = rng.random() < 0.3
    for _ in range(PLACES):
        # The centre stays a quarter of the patch away from the border: an object may stick out, not vanish.
        left = int(rng.uniform(width / 4, image_width - width / 4) - width / 2) + MARGIN
        top = int(rng.uniform(height / 4, image_height - height / 4) - height / 2) + MARGIN
        window = np.s_[top : top + height, left : left + width]
        covered = np.zeros(canvas.shape[:2], bool)
        covered[window] = mask
        covered = covered[MARGIN:-MARGIN, MARGIN:-MARGIN]
        still_visible = [item.visible & ~covered for item in objects]
        if any(
            after.sum() < (MIN_VISIBLE * item.pixels if may_overlap else item.visible.sum())
            for item, after in zip(objects, still_visible, strict=True)
        ):
            continue
        if covered.sum() < MIN_INSIDE * mask.sum():
            continue
        behind, colour = canvas[window][mask].mean(0), patch.colours[mask].mean(0)
        if np.linalg.norm(behind - colour) < MIN_CONTRAST:
            continue
        canvas[window] *= 1 - patch.shadow[..., None]
        canvas[window] += (patch.colours - canvas[window]) * patch.opacity[..., None]
        for item, after in zip(objects, still_visible, strict=True):
            item.visible = after
        objects.append(SceneObject(name, covered, int(mask.sum())))
        return
