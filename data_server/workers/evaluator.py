"""Judges the predictions that a trainer sends.

Runs in a process forked from the stream's nursery, for all evaluations of a trainer, one after the other: with JUDGE
comes the file of predictions, each entry of ``val_evaluator`` goes to its adaptor (`data_server.workers.metrics`),
METRICS or FAILURE goes back. An adaptor may keep what it has read of the data set for the next time.
"""

from __future__ import annotations

import importlib
import logging
from reprlib import repr as short
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from mmengine.logging import MMLogger

from data_server.datasets.parts import Datasets
from data_server.handover.predictions import Record, read
from data_server.workers import metrics
from data_server.workers.announce import announce
from data_server.workers.metrics import mmdetection
from shared import modules
from shared.channel import Channel
from shared.data_part import from_plain
from shared.errors import UserError, described
from shared.messages import Failure, Judge, Metrics

# Imported here, in the root nursery, and not in each evaluator.
_ADAPTORS = [importlib.import_module(f"{metrics.__name__}.{name}") for name in modules.names(metrics)]
_ADAPTOR_OF = {kind: adaptor for adaptor in _ADAPTORS for kind in adaptor.TYPES}


def run(channel: Channel, datasets: Datasets) -> NoReturn:
    """Answers every JUDGE on `channel`. Raises ChannelClosed when nobody wants an answer any more."""
    announce(channel)
    while True:
        order = channel.receive(Judge)
        (descriptor,) = channel.take_descriptors(1)
        channel.send(_answer(datasets, order, read(descriptor)))


def check(metrics: list[Any]) -> None:
    """Looks at the metrics that are going to be asked for, as far as that needs no predictions.

    Raises:
        UserError: there is no metric of a type, or it has not such a key, or its annotation file is not there.
    """
    for config in metrics:
        if _adaptor(config) is mmdetection:
            mmdetection.check(config)


def _answer(datasets: Datasets, order: Judge, predictions: list[Record]) -> Metrics | Failure:
    try:
        return Metrics(evaluate(datasets, from_plain(order.evaluator), predictions))
    except UserError as error:
        return Failure(str(error), True)


def evaluate(datasets: Datasets, evaluator: list[dict[str, Any]], predictions: list[Record]) -> dict[str, float]:
    """Metric name -> value.

    Raises:
        UserError: an entry of `evaluator` cannot be understood, or its adaptor fails.
    """
    MMLogger.get_instance("unidetector", logger_name="unidetector", log_level=logging.ERROR)
    values: dict[str, float] = {}
    for config in evaluator:
        adaptor = _adaptor(config)
        try:
            found = adaptor.evaluate(datasets, config, predictions)
            if again := sorted(values.keys() & found.keys()):
                raise UserError(f"metric {config['type']!r}: there is a {again[0]!r} already; give it another prefix")
            values.update(found)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"metric {config.get('type')!r}: {_explained(error)}") from error
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float | np.number)}


def _adaptor(config: Any) -> ModuleType:
    if not isinstance(config, dict) or not isinstance(config.get("type"), str):
        raise UserError(f"metric {short(config)}: expected a dict with 'type'")
    return _ADAPTOR_OF.get(config["type"], mmdetection)


def _explained(error: Exception) -> str:
    """What a metric stopped at, and what to do about it where that is known."""
    if isinstance(error, KeyError) and error.args == ("iscrowd",):
        return "annotations have no 'iscrowd'; write \"iscrowd\": 0 into those that python -m data_server check names"
    return described(error)
