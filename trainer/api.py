"""UniDetector in your own Python program.

    from trainer.api import Detector

    detector = Detector("configs/demo/cln.py", "work_dirs/demo_cln/epoch_4.safetensors")
    boxes, scores, names = detector.detect("photo.jpg")

Three kinds of detectors do the same here::

    stage 1       images ─► class-agnostic boxes, all called "object"
    end to end    images ─► boxes with the names of a vocabulary
    stage 2       images ─► stage 1 (`proposals`) ─► boxes ─► stage 2 ─► boxes with the names of a vocabulary

Torch is not needed, and must not be loaded in the same process. The first image of a process takes as long as Jittor
needs to load its kernels; on a new machine it compiles them first, which takes minutes, once.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from shared.batch import blank_arrays, padded
from shared.config import check, load_config, section
from shared.datasets import named_classes
from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.device.in_order import begin
from trainer.device.mode import Mode
from trainer.feed import pipeline
from trainer.feed.pipeline import Pipeline
from trainer.models import Detections, build_detector
from trainer.models.detectors.fast_rcnn import FastRCNN
from trainer.models.registry import build
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead
from trainer.vocabulary import embeddings as vocabulary
from trainer.vocabulary.embeddings import NamedEmbeddings
from trainer.weights import pretrained

PROPOSAL_MULTIPLE = 64  # rows of proposals: few sizes, whatever the number that is found

PathLike = str | os.PathLike


class Found(NamedTuple):
    """What is in an image, by descending score.

    Attributes:
        boxes: f32 (n,4), x1,y1,x2,y2 in pixels of the image.
        scores: f32 (n,).
        names: str (n,).
    """

    boxes: np.ndarray
    scores: np.ndarray
    names: np.ndarray


class Detector:
    """A detector with its weights and its vocabulary.

    Args:
        config: a config file, or a Config. Its test pipeline says how images are read and resized.
        checkpoint: weights, of any of the kinds that ``--checkpoint`` takes.
        vocabulary: the names to detect, in place of the config's vocabulary: ``.npy`` files of text embeddings,
            each with its names beside it (`trainer.vocabulary.embeddings`), single names, or both; a NamedEmbeddings;
            None: the config's vocabulary, whose files are needed then.
        embeddings: the ``.npy`` files in which single names are looked up; without any, those of the config's
            vocabulary that have names beside them.
        proposals: config and checkpoint of stage 1, for a stage 2 (FastRCNN), which finds no boxes itself.
        say: called with what was loaded.

    Attributes:
        names: the vocabulary.

    Raises:
        UserError: a file is missing or malformed, weights do not fit, a name has no embedding.
    """

    def __init__(
        self,
        config: PathLike | Config,
        checkpoint: PathLike,
        vocabulary: PathLike | Iterable[PathLike] | NamedEmbeddings | None = None,
        *,
        embeddings: Iterable[PathLike] = (),
        proposals: tuple[PathLike | Config, PathLike] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._stage = _Stage(config, checkpoint, vocabulary, embeddings, say)
        self.names = self._stage.names
        needs = isinstance(self._stage.model, FastRCNN)
        if needs and proposals is None:
            raise UserError(
                f"config {self._stage.title}: a FastRCNN classifies boxes that another detector proposes; give config "
                "and checkpoint of stage 1, too (proposals=(config, checkpoint), --proposals-from CONFIG CHECKPOINT)"
            )
        if proposals is not None and not needs:
            raise UserError(f"config {self._stage.title}: this detector finds boxes itself; give it no proposals")
        self._proposer = _Stage(*proposals, None, (), say) if proposals is not None else None
        if self._proposer is not None and self._proposer.pipeline.read != self._stage.pipeline.read:
            raise UserError(
                f"configs {self._stage.title} and {self._proposer.title} read images in different ways: "
                f"{self._stage.pipeline.read} and {self._proposer.pipeline.read}; give LoadImageFromFile of both test "
                "pipelines the same settings"
            )

    @property
    def turns(self) -> bool:
        """Whether it turns images as their EXIF orientation says."""
        return self._stage.pipeline.read.color_type == "color"

    @property
    def embedding_length(self) -> int | None:
        """How many numbers a name's text embedding has; None for a detector that names nothing."""
        head = self._stage.model.roi_head.bbox_head
        return int(head.fc_reg.in_features) if isinstance(head, CLIPHead) else None

    def read(self, path: PathLike) -> np.ndarray:
        """An image file as u8 (H,W,3) BGR, as the config's test pipeline reads it; boxes are in its pixels.

        Raises:
            UserError: the file is no image (`trainer.feed.loader.BadImage`).
        """
        return self._stage.pipeline.read(path)

    def decode(self, content: bytes, title: str) -> np.ndarray:
        """The same of an image file's content, u8 (H,W,3) BGR; messages call it `title`.

        Raises:
            UserError: it is no image (`trainer.feed.loader.BadImage`).
        """
        return self._stage.pipeline.read.decode(content, title)

    def with_vocabulary(self, vocabulary: NamedEmbeddings) -> Detector:
        """A detector of other names that shares this one's weights.

        Raises:
            UserError: this detector names nothing, or the rows have another length than its own vocabulary's.
        """
        other = copy.copy(self)
        other._stage = self._stage.with_vocabulary(vocabulary)
        other.names = other._stage.names
        return other

    def propose(self, image: np.ndarray) -> Detections | None:
        """Stage 1's boxes in u8 (H,W,3) BGR, whatever names a stage 2 has; None for a detector that needs none."""
        return None if self._proposer is None else self._proposer.detect(image)

    def detect(self, image: PathLike | np.ndarray, proposals: Detections | None = None) -> Found:
        """Finds what is in an image.

        Args:
            image: a file, or u8 (H,W,3) in BGR, as ``cv2.imread`` gives it (of a Pillow image in RGB:
                ``numpy.asarray(image)[..., ::-1]``).
            proposals: what `propose` says of this image, where that is known already.

        Raises:
            UserError: the file is no image (`trainer.feed.loader.BadImage`), or the array is of another kind.
        """
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise UserError(f"image: expected a uint8 array (H, W, 3) in BGR, found {image.dtype} {image.shape}")
        else:
            image = self.read(image)
        found = self._stage.detect(image, self.propose(image) if proposals is None else proposals)
        return Found(found.boxes, found.scores, np.array(self.names, dtype=np.str_)[found.labels])


class _Stage:
    """One network with the pipeline that its images go through."""

    def __init__(
        self,
        config: PathLike | Config,
        checkpoint: PathLike,
        chosen: PathLike | Iterable[PathLike] | NamedEmbeddings | None,
        embeddings: Iterable[PathLike],
        say: Callable[[str], None],
    ) -> None:
        if isinstance(config, Config):
            check(config)
        else:
            config = load_config(os.fspath(config))
        begin(Mode.of(config))
        self.title = repr(config.filename)
        self.pipeline: Pipeline = pipeline.pipeline_of(config)
        self._config = model = section(config, "model").to_dict()
        if chosen is None:
            self.names = vocabulary.of_config(model, named_classes(pipeline.dataset_of(config)) or ())
        else:
            if not isinstance(chosen, NamedEmbeddings):
                chosen = vocabulary.choose(chosen, list(embeddings) or vocabulary.tables_of_config(model))
            self.names, model = chosen.names, vocabulary.fitted(model, chosen)
        self.model: nn.Module = build_detector(model)
        try:
            pretrained.load(Path(checkpoint), self.model, say, complete=True)
        except UserError as error:
            if chosen is None:
                raise
            length = chosen.embeddings.shape[1]
            raise UserError(f"{error}; the vocabulary's rows have {length} numbers") from None
        self.model.eval()

    def with_vocabulary(self, chosen: NamedEmbeddings) -> _Stage:
        """The same network with a box head for other names."""
        config = vocabulary.fitted(self._config, chosen)["roi_head"]["bbox_head"]
        head = build(config, "model.roi_head.bbox_head")
        former = self.model.roi_head.bbox_head
        length, expected = chosen.embeddings.shape[1], former.fc_reg.in_features
        if length != expected:
            raise UserError(f"vocabulary: rows of {length} numbers, the weights are for rows of {expected}")
        head.attnpool, head.fc_reg = former.attnpool, former.fc_reg
        head.eval()
        other = copy.copy(self)
        other.names = chosen.names
        other.model, other.model.roi_head = copy.copy(self.model), copy.copy(self.model.roi_head)
        other.model.roi_head.bbox_head = head
        return other

    def detect(self, image: np.ndarray, proposals: Detections | None = None) -> Detections:
        """Detections in u8 (H,W,3) BGR; all boxes are in its pixels."""
        resized, factors = self.pipeline(image)
        height, width = image.shape[:2]
        if proposals is not None:
            most = self.pipeline.most_proposals
            proposals = Detections(proposals.boxes[:most], proposals.scores[:most], proposals.labels[:most])
        with jt.no_grad():
            divisor = self.model.preprocessor.pad_size_divisor
            (found,) = self.model.predict(to_batch(resized, (height, width), factors, divisor, proposals))
            jt.sync_all()
        return found


def to_batch(
    image: np.ndarray,
    original_shape: tuple[int, int],
    factors: np.ndarray,
    divisor: int,
    proposals: Detections | None = None,
) -> Batch:
    """A batch of one image without ground truth, padded as a data server pads it.

    Args:
        image: u8 or f32 (h,w,3) BGR, resized.
        original_shape: height and width before that.
        factors: f32 (4,), how much wider, higher, wider, higher `image` is than the original.
        divisor: height and width of the batch are multiples of it.
        proposals: boxes in pixels of the original.
    """
    height, width = image.shape[:2]
    count = 0 if proposals is None else len(proposals.scores)
    room = 0 if proposals is None else padded(max(count, 1), PROPOSAL_MULTIPLE)
    size = padded(height, divisor), padded(width, divisor)
    arrays = blank_arrays(1, *size, proposals=room, image_dtype=image.dtype.name)
    arrays["images"][0, :height, :width] = image
    arrays["image_shapes"][0] = height, width
    arrays["original_shapes"][0] = original_shape
    arrays["scale_factors"][0] = factors
    if proposals is not None:
        limits = np.array([width, height, width, height], np.float32)
        arrays["proposals"][0, :count, :4] = np.clip(proposals.boxes * factors, 0, limits)
        arrays["proposals"][0, :count, 4] = proposals.scores
        arrays["proposal_counts"][0] = count
    return Batch.from_arrays(arrays)
