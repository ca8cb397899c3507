"""What becomes of a trainer's predictions: one adaptor a module, found by being here.

    mmdetection     MMDetection's metrics, of any type that no other adaptor names
    proposal_file   ``ProposalFile``: no metric, keeps the predictions as proposals

An entry of ``val_evaluator`` goes to the adaptor that names its ``type``. A metric that is registered with MMDetection
(``@METRICS.register_module()`` in a module of ``custom_imports``) needs no adaptor; one that is not made like
MMDetection's does. An adaptor is a module with

    TYPES = ("MyMetric",)
    evaluate(datasets: Datasets, config: dict, predictions: list[Record]) -> dict[str, Any]

`predictions` are records of a layout and a payload, whose arrays `arrays_of` shows; what `evaluate` returns and is no
number is dropped, and whatever it raises reaches the user in one line.
"""

from __future__ import annotations

import numpy as np

from data_server.handover.predictions import Record
from shared.layout import Layout


def arrays_of(record: Record) -> dict[str, np.ndarray]:
    """The predictions of one PREDICTIONS message, for B images with N boxes in all.

    ``image_ids`` (B,), ``counts`` (B,) boxes of each, ``original_shapes`` (B,2) height and width; ``boxes`` f32 (N,4)
    x1,y1,x2,y2 in pixels of the original image, ``scores`` f32 (N,), ``labels`` (N,).
    """
    layout, payload = record
    return Layout.from_wire(layout, len(payload)).views(np.frombuffer(payload, np.uint8))
