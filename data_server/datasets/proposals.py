"""The proposals of a data set, by image, and how they follow an image through a pipeline.

In a config they are asked for as UniDetector does it, by a key of the data set and a step of its pipeline, which are
taken out before MMDetection builds the data set (its own `LoadProposals` neither resizes nor flips)::

    proposal_file=F                          one file (ours or a pickled list, see `proposal_file`, `proposal_list`), or
                                             a folder that proposals were written to: the newest file there that has all
                                             the data set's images
    proposal_model=M                         the fingerprint, or its beginning, of the model that has made them: another
                                             one's are refused (default: any)
    LoadProposals(num_max_proposals=None,    the first so many of each image
                  load_score=False)          whether their scores come along; else every score is 1

They are read in the original image's pixels and go where the pipeline says that it has moved the image
(``homography_matrix``), clipped to it. An image without any has one, empty, at the origin, as in UniDetector.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from mmdet.structures.bbox import HorizontalBoxes

from data_server.datasets.indexed import Indexed
from data_server.files import proposal_list
from data_server.files.image_names import ImageNames, image_key
from data_server.files.index.cache import columns_of, name_of
from data_server.files.index.json_pieces import Unfit
from data_server.files.index.names import NAMES, read_names, write_names
from data_server.files.proposal_file import COLUMNS, SUFFIX, ProposalFile
from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import check_keys

MAKE = "make them with python -m trainer propose"
_SETTINGS = ("type", "num_max_proposals", "load_score")
# Transforms that move pixels and do not say so in homography_matrix.
_SILENT = (
    "Albu",
    "CachedMixUp",
    "CachedMosaic",
    "CopyPaste",
    "Expand",
    "InstaBoost",
    "MinIoURandomCrop",
    "MixUp",
    "Mosaic",
    "RandomAffine",
    "RandomCenterCropPad",
    "RandomShift",
)
_LISTED = 3


class Settings:
    """What one data set's config says of proposals; takes that out of `config`."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Raises UserError for a key without the other, an unknown setting, or a pipeline that cannot be followed."""
        self.file = config.pop("proposal_file", None)
        self.model = config.pop("proposal_model", None)
        self.data_root = config.get("data_root") or ""
        steps = [step for step in config.get("pipeline", ()) if _kind(step) == "LoadProposals"]
        self.wanted = bool(steps)
        if bool(self.file) != self.wanted:
            has, lacks = (
                ("proposal_file", "no LoadProposals in its pipeline")
                if self.file
                else ("LoadProposals in its pipeline", "no proposal_file")
            )
            raise UserError(f"data set {config.get('type')!r} has {has} and {lacks}; give both or neither")
        if not self.wanted:
            return
        config["pipeline"] = [step for step in config["pipeline"] if _kind(step) != "LoadProposals"]
        check_keys("LoadProposals", steps[0], _SETTINGS)
        self.most = steps[0].get("num_max_proposals")
        if self.most is not None and (not isinstance(self.most, int) or self.most < 1):
            raise UserError(f"LoadProposals.num_max_proposals is {self.most!r}; expected 1 or more, or None")
        self.load_score = bool(steps[0].get("load_score", False))
        for step in _steps(config["pipeline"]):
            if _kind(step) in _SILENT:
                raise UserError(
                    f"{step['type']} moves the image without saying how, so proposals cannot follow; "
                    "remove it or LoadProposals from the pipeline"
                )


def _steps(pipeline: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All transforms of a pipeline, those inside of others as well."""
    for step in pipeline:
        yield step
        within = step.get("transforms") or ()
        for inner in [within] if isinstance(within, dict) else within:
            yield from _steps(inner if isinstance(inner, list | tuple) else [inner])


def _kind(step: dict[str, Any]) -> str:
    return class_name(step.get("type"))


def names_of(dataset: Any) -> ImageNames:
    """The images of a data set of MMDetection's, in its order. Those of one over an index are kept beside it: to name
    them takes longer than all else at a start."""
    if not isinstance(dataset, Indexed):
        return ImageNames.of(image_key(dataset.get_data_info(index)) for index in range(len(dataset)))
    places = [getattr(dataset, name, None) for name in ("data_prefix", "sub_data_root", "img_subdir")]
    # An index' folder is called by its content.
    digest = xxhash.xxh3_128(repr((dataset.columns.folder.name, dataset._original, places)).encode())
    digest.update(dataset.rows.tobytes())
    try:
        return read_names(columns_of(name_of(digest.hexdigest(), len(dataset), NAMES), partial(_write_names, dataset)))
    except Unfit:  # there is no room
        return _named(dataset)


def _write_names(dataset: Indexed, folder: Path) -> None:
    write_names(folder, _named(dataset))


def _named(dataset: Indexed) -> ImageNames:
    identities = dataset.identities(0, len(dataset))
    known = identities.tolist() if isinstance(identities, np.ndarray) else identities
    return ImageNames.of(
        image_key({"img_id": identity, "img_path": dataset.image_path(index)}) for index, identity in enumerate(known)
    )


class Proposals:
    """The proposals of one data set, image by image."""

    def __init__(self, settings: Settings, dataset: Any, annotations: str | None) -> None:
        """Reads those of all images of MMDetection's `dataset`.

        Raises:
            UserError: there is no such file, it is damaged, of other images or of another model.
        """
        images = names_of(dataset)
        self.path = _located(settings)
        if self.path.is_dir():
            file, places = _newest(self.path, images, settings.model)
        elif self.path.suffix == SUFFIX:
            file = ProposalFile.open(self.path)
            _check_model(file, settings.model)
            places = _places(file, images)
        else:
            if settings.model:
                raise UserError(
                    f"proposal file {str(self.path)!r}: a pickled list does not say which model made it; remove "
                    "proposal_model from the config"
                )
            file, places = _of_list(self.path, dataset, images, annotations)
        self.path = file.path
        self._starts = file.starts[places]
        self._counts = file.counts[places]
        if settings.most is not None:
            self._counts = np.minimum(self._counts, settings.most)
        self._rows = file.rows
        self._load_score = settings.load_score
        digest = xxhash.xxh3_64(repr((file.model, file.data, settings.most, settings.load_score)).encode())
        digest.update(self._counts.tobytes())
        self.fingerprint = digest.digest()

    @property
    def most(self) -> int:
        """The largest number that one image has; at least 1."""
        return max(1, int(self._counts.max(initial=0)))

    def of(self, index: int) -> np.ndarray:
        """f32 (n,5) of image `index`, n >= 1, in pixels of the original image.

        Raises:
            UserError: one of them is no box.
        """
        start = self._starts[index]
        rows = np.array(self._rows[start : start + self._counts[index]])
        if len(rows) == 0:
            return np.zeros((1, COLUMNS), np.float32)
        if not np.isfinite(rows).all() or (rows[:, 4] < 0).any():
            row = int(np.argmin(np.isfinite(rows).all(1) & (rows[:, 4] >= 0)))
            raise UserError(
                f"proposal file {str(self.path)!r}: proposal {row} of the data set's image {index} is "
                f"{rows[row].tolist()}; expected five finite numbers and a score of 0 or more; {MAKE} again"
            )
        if not self._load_score:
            rows[:, 4] = 1
        return rows


def moved(rows: np.ndarray, homography: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """Proposals f32 (n,5) where a pipeline has moved the image to, clipped to it.

    Args:
        homography: f32 (3,3), from the original image's pixels to those of the (`height`, `width`) image.
    """
    matrix = np.eye(3, dtype=np.float32) if homography is None else np.asarray(homography, np.float32)
    if not (matrix[0, 1] or matrix[1, 0] or matrix[2, 0] or matrix[2, 1]):
        # Resized and flipped, in MMDetection's own order of operations, so that the bits are its own.
        moved = rows.copy()
        for axis in (0, 1):
            scale, offset = matrix[axis, axis], matrix[axis, 2]
            edges = rows[:, axis:4:2] * scale + offset
            moved[:, axis:4:2] = edges if scale > 0 else edges[:, ::-1]
    else:
        boxes = HorizontalBoxes(torch.from_numpy(rows[:, :4].copy()))
        boxes.project_(matrix)
        moved = np.column_stack([boxes.tensor.numpy(), rows[:, 4:]]).astype(np.float32)
    np.clip(moved[:, 0:4:2], 0, width, out=moved[:, 0:4:2])
    np.clip(moved[:, 1:4:2], 0, height, out=moved[:, 1:4:2])
    return moved


def _located(settings: Settings) -> Path:
    """The file or folder that ``proposal_file`` names: from the working directory, or else from ``data_root``."""
    places = [Path(settings.file), Path(settings.data_root) / settings.file]
    for place in places:
        if os.path.exists(place):
            return place
    names = " nor ".join(dict.fromkeys(repr(str(place.absolute())) for place in places))
    raise UserError(f"proposal_file={settings.file!r}: there is neither {names}; {MAKE}")


def _places(file: ProposalFile, images: ImageNames) -> np.ndarray:
    """The place of each of `images` in the file, int64 (images,).

    Raises:
        UserError: one is not there.
    """
    places = file.images.places(images)
    missing = np.flatnonzero(places < 0)
    if len(missing):
        identity, name = images.key(missing[0])
        try:
            known = any(name == other for _, other in file.images)
        except ValueError as error:
            raise UserError(f"proposal file {str(file.path)!r}: {error}; {MAKE} again") from None
        instead = " (it has an image of that name with another id)" if known else ""
        raise UserError(
            f"proposal file {str(file.path)!r}: none for {len(missing)} of the data set's {len(images)} images, the "
            f"first is {name!r}, id {identity}{instead}; it was made for other images, {MAKE} of this data set"
        )
    return places


def _check_model(file: ProposalFile, wanted: str | None) -> None:
    if wanted and not file.model.startswith(wanted):
        raise UserError(
            f"proposal file {str(file.path)!r}: made by model {file.model}, proposal_model={wanted!r} is asked for; "
            f"{MAKE} of that model, or correct proposal_model"
        )


def _newest(folder: Path, images: ImageNames, model: str | None) -> tuple[ProposalFile, np.ndarray]:
    """The newest of a folder's files that has all `images`."""
    paths = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in paths:
        with suppress(UserError):
            file = ProposalFile.open(path)
            _check_model(file, model)
            if not len(images) or (file.images.hashes == images.hashes[0]).any():  # else it is another data set's
                return file, _places(file, images)
    refusals = [_refusal(path, images, model) for path in paths[:_LISTED]]
    reasons = "; ".join(refusals) or f"there is no *{SUFFIX} in it; {MAKE}"
    raise UserError(f"proposal_file={str(folder)!r}: no file for this data set: {reasons}")


def _refusal(path: Path, images: ImageNames, model: str | None) -> str:
    """Why a file is not taken; it takes a while to say so of a large one."""
    try:
        file = ProposalFile.open(path)
        _check_model(file, model)
        _places(file, images)
    except UserError as error:
        return str(error)
    return f"proposal file {str(path)!r}: it is there by now; start again"


def _of_list(path: Path, dataset: Any, images: ImageNames, annotations: str | None) -> tuple[ProposalFile, np.ndarray]:
    """A pickled list, whose order is that of all images before filtering."""
    found = proposal_list.read(path)
    unfiltered = ImageNames.of(map(image_key, dataset.load_data_list()))
    if len(found.counts) != len(unfiltered):
        raise UserError(
            f"proposal file {str(path)!r}: it has {len(found.counts)} entries, annotation file {annotations!r} has "
            f"{len(unfiltered)} images; it was made for other images, or in training mode, which leaves some out"
        )
    file = ProposalFile(path, unfiltered, found.counts, found.starts, found.rows, found.digest, "")
    return file, _places(file, images)
