"""Box head for training on several data sets at once: one vocabulary for each, everything else shared.

An image is trained on the classes of its own data set only, so what is nameless in one data set is never a negative
for another's class. Each image draws its own classes for the federated loss, and weighs as much as any other.

UniDetector section 3.2 (partitioned structure); its BBoxHeadCLIPPartitioned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared.errors import UserError
from trainer.device import jt
from trainer.models.registry import register
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead, text_matrix
from trainer.models.roi_heads.bbox_heads.vocabulary import Vocabulary, load_vocabulary
from trainer.models.roi_heads.standard_roi_head import SampledRoIs


@register
class BBoxHeadCLIPPartitioned(CLIPHead):
    """See the module's text, and CLIPHead for the arguments that are not here.

    Args:
        num_classes: size of the largest vocabulary; also the background's label in all data sets.
        zeroshot_path: one file for each data set, in the order of the batch's dataset ids.
        cat_freq_path: one file or None for each data set.
        test_vocabulary: the data set whose classes are detected (the original: always the first).
    """

    def __init__(self, test_vocabulary: int = 0, where: str = "bbox_head", **shared: Any) -> None:
        super().__init__(where=where, **shared)
        if test_vocabulary not in range(len(self.vocabularies)):
            raise UserError(
                f"{where}.test_vocabulary: 0 to {len(self.vocabularies) - 1} is expected, found {test_vocabulary!r}"
            )
        self.test_vocabulary = test_vocabulary
        for i, vocabulary in enumerate(self.vocabularies):
            setattr(self, f"zs_weights_{i}", text_matrix(vocabulary))

    def read_vocabularies(
        self, zeroshot_path: list[str] | Any, cat_freq_path: list[str | None] | Any, where: str
    ) -> list[Vocabulary]:
        lists = isinstance(zeroshot_path, list | tuple) and isinstance(cat_freq_path, list | tuple | None)
        counts = (cat_freq_path or [None] * len(zeroshot_path)) if lists else []
        if not counts or len(counts) != len(zeroshot_path):
            raise UserError(f"{where}: zeroshot_path and cat_freq_path should be lists with an entry for each data set")
        return [load_vocabulary(*paths, where) for paths in zip(zeroshot_path, counts, strict=True)]

    def text(self) -> jt.Var:
        matrices = [getattr(self, f"zs_weights_{i}") for i in range(len(self.class_counts))]
        return jt.concat([*(matrix[:, :-1] for matrix in matrices[:-1]), matrices[-1]], 1)

    def sizes(self, dataset_ids: np.ndarray) -> np.ndarray:
        """See BBoxHead.

        Raises:
            UserError: a data set without a vocabulary.
        """
        if dataset_ids.max(initial=0) >= len(self.class_counts):
            raise UserError(
                f"model.roi_head.bbox_head.zeroshot_path: {len(self.class_counts)} vocabularies, but the batch has an "
                f"image of data set {dataset_ids.max()} (counted from 0)"
            )
        return self.class_counts[dataset_ids]

    def vocabulary_of(self, data_set: int, training: bool) -> int:
        """Raises UserError for a training data set without a vocabulary."""
        if not training:
            return self.test_vocabulary
        if data_set >= len(self.vocabularies):
            raise UserError(
                f"model.roi_head.bbox_head.zeroshot_path has {len(self.vocabularies)} vocabularies, "
                f"train_dataloader.dataset has a data set {data_set} (counted from 0); name one for each, in order"
            )
        return data_set

    def vocabulary_ids(self, sampled: SampledRoIs) -> np.ndarray:
        return sampled.dataset_ids
