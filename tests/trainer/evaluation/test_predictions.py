"""Kept predictions: the batches end to end, in a file that is whole, or a line for the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from trainer.evaluation.predictions import keep


def batch(*image_ids: int) -> dict[str, np.ndarray]:
    """A batch's predictions, one for each image."""
    return {"image_ids": np.array(image_ids), "boxes": np.full((len(image_ids), 4), image_ids[0], np.float32)}


def test_batches_are_kept_end_to_end(tmp_path: Path) -> None:
    path = keep([batch(3, 1), batch(2)], tmp_path / "new", "val")
    assert path == tmp_path / "new" / "predictions_val.npz"
    with np.load(path) as kept:
        assert kept["image_ids"].tolist() == [3, 1, 2] and kept["boxes"][:, 0].tolist() == [3, 3, 2]


def test_predictions_that_cannot_be_written_are_the_users_to_mend(tmp_path: Path) -> None:
    keep([batch(1)], tmp_path, "val")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/predictions_val\.npz: .* choose another --work-dir"):
        keep([batch(1)], tmp_path / "file", "val")
