"""The splits of a config, each opened when somebody first asks for it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from data_server.checks.subject import SPLITS, Subject, subjects
from data_server.commands.browse.catalogue import Catalogue
from data_server.commands.check import DECODED, look_at
from shared.config import box_head, seed_of
from shared.data_part import data_part, from_plain
from shared.errors import UserError

_IMAGE = re.compile(r"\bimage ([^\s)]+)")
_ANNOTATION = re.compile(r"annotation (\d{1,18})")
_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Splits:
    """All splits that a config has a dataloader for.

    Attributes:
        names: of the splits.
        seed: of their streams.
        head: the config's box head, as far as it has one.

    Raises:
        UserError: there is none.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self.config_name = str(config.filename)
        self.seed = seed_of(config)
        self.head = box_head(config.get("model"))
        self.names = [split for split in SPLITS if config.get(f"{split}_dataloader")]
        if not self.names:
            raise UserError(f"config {config.filename!r} has no data set: no train_, val_ or test_dataloader")
        self._opened: dict[str, Catalogue] = {}
        self._findings: dict[str, list[dict[str, Any]]] = {}
        self._opening, self._checking = threading.Lock(), threading.Lock()

    def outline(self) -> dict[str, Any]:
        """The splits, the config's file and the seed."""
        return {"splits": self.names, "config": self.config_name, "seed": str(self.seed)}

    def opened(self, split: str) -> Catalogue:
        """A split. Raises UserError where the config has none of that name, or a data set cannot be built."""
        self._check(split)
        with self._opening:
            if split not in self._opened:
                part = from_plain(data_part(self._config, split))
                with contextlib.redirect_stdout(None), warnings.catch_warnings():  # MMDetection and pycocotools chat
                    warnings.simplefilter("ignore")
                    self._opened[split] = Catalogue(part, self.seed, self._say)
            return self._opened[split]

    def findings(self, split: str) -> list[dict[str, Any]]:
        """What ``python -m data_server check`` finds in the data sets of a split, why one cannot be built among it; a
        place is its text, and what finds its image. Raises UserError where the config has no such split."""
        self._check(split)
        with self._checking:
            if split not in self._findings:
                found = []
                for subject in subjects(self._config, DECODED):
                    if subject.split == split:
                        with contextlib.redirect_stdout(None):
                            summary, kinds = look_at(subject)
                        listed = [
                            {
                                "error": one.is_error,
                                "text": one.text,
                                "count": one.count,
                                "places": [(place, self._find(subject, place)) for place in one.places],
                            }
                            for one in kinds
                        ]
                        found.append({"data_set": str(subject), "summary": summary, "findings": listed})
                self._findings[split] = found
            return self._findings[split]

    def _find(self, subject: Subject, place: str) -> str:
        catalogue, annotation = self._opened.get(subject.split), _ANNOTATION.fullmatch(place)
        if catalogue is None or annotation is None:
            return image_of(place)
        return catalogue.image_of_annotation(subject.number, int(annotation[1]))

    def _check(self, split: str) -> None:
        if split not in self.names:
            raise UserError(f"{split!r}: no split of this config; expected {' or '.join(self.names)}")


def image_of(place: str) -> str:
    """What finds the image that a check's place is about: its id, or its file's name; empty where it names none."""
    if found := _IMAGE.search(place):
        return found[1]
    path = place.split(" (")[0]
    return os.path.basename(path) if path.lower().endswith(_ENDINGS) else ""
