"""Judges the predictions that a trainer sent.

Runs in a process forked from the stream's nursery, for one evaluation: predictions come in a memfd, each entry of
``val_evaluator`` goes to its adaptor (`data_server.workers.metrics`), METRICS or FAILURE goes back.
"""

from __future__ import annotations

import importlib
import logging
from reprlib import repr as short
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from data_server.datasets.parts import Datasets
from data_server.handover.predictions import Record, read
from data_server.workers import metrics
from data_server.workers.metrics import mmdetection
from shared import modules
from shared.data_part import from_plain
from shared.errors import UserError, described
from shared.link import Channel
from shared.messages import Failure, Metrics, SpawnEvaluator

# Imported here, in the root nursery, and not in each evaluator.
_ADAPTORS = [importlib.import_module(f"{metrics.__name__}.{name}") for name in modules.names(metrics)]
_ADAPTOR_OF = {kind: adaptor for adaptor in _ADAPTORS for kind in adaptor.TYPES}


def run(channel: Channel, datasets: Datasets, spawn: SpawnEvaluator, memory: int) -> None:
    """Judges the predictions in the memfd `memory` and answers on `channel`."""
    predictions = read(memory)
    try:
        channel.send(Metrics(evaluate(datasets, from_plain(spawn.evaluator), predictions)))
    except UserError as error:
        channel.send(Failure(str(error), True))


def evaluate(datasets: Datasets, evaluator: list[dict[str, Any]], predictions: list[Record]) -> dict[str, float]:
    """Metric name -> value.

    Raises:
        UserError: an entry of `evaluator` cannot be understood, or its adaptor fails.
    """
    MMLogger.get_instance("unidetector", logger_name="unidetector", log_level=logging.ERROR)
    values: dict[str, float] = {}
    for config in evaluator:
        if not isinstance(config, dict) or not isinstance(config.get("type"), str):
            raise UserError(f"metric {short(config)}: expected a dict with 'type'")
        try:
            adaptor = _ADAPTOR_OF.get(config["type"], mmdetection)
            found = adaptor.evaluate(datasets, config, predictions)
            if again := sorted(values.keys() & found.keys()):
                raise UserError(f"metric {config['type']!r}: there is a {again[0]!r} already; give it another prefix")
            values.update(found)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"metric {config.get('type')!r}: {_explained(error)}") from error
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float | np.number)}


def _explained(error: Exception) -> str:
    """What a metric stopped at, and what to do about it where that is known."""
    if isinstance(error, KeyError) and error.args == ("iscrowd",):
        return "annotations have no 'iscrowd'; write \"iscrowd\": 0 into those that python -m data_server check names"
    return described(error)
