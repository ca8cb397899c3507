"""The detector of a command line, and the names that it can be asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from shared.config import section
from shared.errors import UserError
from trainer.api import Detector
from trainer.tasks.serve.encoder import Encoder
from trainer.tasks.serve.words import Dictionary
from trainer.vocabulary import embeddings
from trainer.vocabulary.embeddings import NamedEmbeddings


def opened(
    config: Config, weights: Path, options: argparse.Namespace, say: Callable[[str], None]
) -> tuple[Detector, Dictionary]:
    """Loads what `options` name: --vocabulary, --embeddings, --clip and --proposals-from.

    Raises:
        UserError: a file is missing or malformed, or does not fit the detector.
    """
    served = _by_title(options.vocabulary)
    first = next(iter(served), None)
    detector = Detector(
        config,
        weights,
        served[first] if first else None,
        proposals=tuple(options.proposals_from) if options.proposals_from else None,
        say=say,
    )
    others = {title: table for title, table in served.items() if title != first}
    for table in others.values():
        detector.with_vocabulary(table)  # one that does not fit is told now
    model = section(config, "model").to_dict()
    own = embeddings.file_of_config(model)
    looked_up = options.embeddings or ([] if first else embeddings.tables_of_config(model))
    tables = [*served.values(), *map(embeddings.load, looked_up)]
    encoder = _encoder(options.clip, detector, say) if options.clip else None
    title = first or ("object" if own is None else Path(own).stem)
    return detector, Dictionary((title, detector.names), others, tables, encoder)


def _by_title(paths: list[str]) -> dict[str, NamedEmbeddings]:
    """Vocabularies by their files' names; by their paths where two files have one name."""
    stems = [Path(path).stem for path in paths]
    return {
        path if stems.count(stem) > 1 else stem: embeddings.load(path) for path, stem in zip(paths, stems, strict=True)
    }


def _encoder(weights: Path, detector: Detector, say: Callable[[str], None]) -> Encoder:
    if detector.embedding_length is None:
        raise UserError("--clip: this detector finds objects of any class and names none; leave it out")
    return Encoder(weights, detector.embedding_length, say)
