"""What a check is given: one data set of a config, and what earlier checks have learnt about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from data_server.checks.findings import Findings
from shared.config import box_head
from shared.data_part import data_part, from_plain
from shared.datasets import parts_of
from shared.errors import UserError

if TYPE_CHECKING:
    from data_server.datasets.part import Part

SPLITS = ("train", "val", "test")


@dataclass
class Subject:
    """A data set of a config.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        number: its place among the split's data sets, from 0.
        dataset: its config, with data_root filled in.
        head: the config's box head.
        decode: how many of its images are to be decoded; None: all.
        alone: whether it is its split's only one.
        classes: by label, as `annotations` has found them in the file; None where it could not.
        whole: the data set with all its images and without proposals, as `building` has built it; None where it could
            not.
    """

    split: str
    number: int
    dataset: dict[str, Any]
    head: dict[str, Any]
    decode: int | None
    alone: bool = True
    classes: list[str] | None = field(default=None, compare=False)
    whole: Part | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.split} {self.number}: {self.dataset.get('ann_file') or self.dataset.get('type')}"

    @property
    def training(self) -> bool:
        return self.split == "train"

    def built(self, dataset: dict[str, Any], found: Findings) -> Part | None:
        """A form of the data set as MMDetection builds it, and its proposals; None where that fails.

        What is wrong with its annotations is known then, and not said again.
        """
        from data_server.datasets.part import Part  # brings torch in

        try:
            with contextlib.redirect_stdout(None):  # pycocotools prints progress
                return Part(dataset, self.number, training=self.training)
        except UserError as error:
            if not found.errors:
                found.error(str(error))
            return None


def subjects(config: Config, decode: int | None) -> Iterator[Subject]:
    """Every data set of a config.

    Raises:
        UserError: a dataloader lacks something.
    """
    head = box_head(config.get("model"))
    for split in SPLITS:
        if config.get(f"{split}_dataloader"):
            dataset = from_plain(data_part(config, split)["dataset"])
            parts = list(parts_of(dataset))
            for number, part in enumerate(parts):
                yield Subject(split, number, part, head, decode, alone=len(parts) == 1)
