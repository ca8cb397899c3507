"""Tampered checkpoints, weights and calibrations: refused in one line that names the file, or right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from shared.errors import UserError
from tests import tampering
from trainer.vocabulary import calibration
from trainer.weights import checkpoint
from trainer.weights.checkpoint import Checkpoint
from trainer.weights.formats import file

ARRAYS = {"backbone.conv1.weight": np.ones((2, 3), np.float32), "optimizer.a.step": np.ones(1, np.float32)}


def own() -> bytes:
    metadata = {"format_version": "1", "cursor": '{"epoch": 1, "step": 2}', "meta": '{"seed": 3, "stream": null}'}
    return save(ARRAYS, metadata)


def is_whole(found: Checkpoint) -> bool:
    numbers = all(type(value) is int and value >= 0 for value in found.cursor.values())
    arrays = {**found.model, **found.optimizer}.values()
    return numbers and set(found.cursor) == {"epoch", "step"} and all(isinstance(one, np.ndarray) for one in arrays)


def test_checkpoints_of_this_trainer(tmp_path: Path) -> None:
    path = tmp_path / "epoch_1.safetensors"
    refused = tampering.assert_safe(path, tampering.safetensors_files(own()), lambda: checkpoint.load(path), is_whole)
    assert refused > 200


def test_they_are_told_from_other_files_without_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "epoch_1.safetensors"
    tampering.assert_safe(
        path, tampering.safetensors_files(own()), lambda: checkpoint.is_own(path), lambda found: isinstance(found, bool)
    )


def test_dtypes_that_numpy_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for dtype, size in (("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("U16", 2), ("U64", 8), ("X", 1), ("bf16", 2)):
        header: dict[str, Any] = {"w": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}}
        for metadata in ({}, {"__metadata__": {"format_version": "1", "cursor": "{}", "meta": "{}"}}):
            path.write_bytes(tampering.safetensors(metadata | header, bytes(2 * size)))
            for read in (file.read, checkpoint.load):
                try:
                    read(path)
                except UserError as error:
                    assert "a.safetensors" in str(error) and "\n" not in str(error)


def test_safetensors_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    refused = tampering.assert_safe(
        path,
        tampering.safetensors_files(save({**ARRAYS, "none": np.zeros((0, 3), np.float32)})),
        lambda: file.read(path),
        lambda found: all(isinstance(one, np.ndarray) for one in found.values()),
    )
    assert refused > 200


def test_calibrations(tmp_path: Path) -> None:
    path, embeddings = tmp_path / "calibration.json", np.ones((2, 3), np.float32)
    made = calibration.Calibration(["cat", "dog"], calibration.digest(embeddings), 0.6, [3, 0], 5)
    calibration.save(path, made)

    def is_right(found: calibration.Calibration) -> bool:
        return found.weights(None, 1.0).shape == (2,) and bool(np.isfinite(found.weights(None, 1.0)).all())

    refused = tampering.assert_safe(
        path,
        tampering.json_files(json.loads(path.read_text())),
        lambda: calibration.load(str(path), embeddings, "calibration"),
        is_right,
    )
    assert refused > 100
