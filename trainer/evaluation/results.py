"""The metrics of an evaluation: on the screen as a table, in the work dir as ``results.json``.

{"checkpoint": F, "results": {"val_base": {"bbox_mAP": 0.4, ...}, "val_base, calibrated": ...}}
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from shared.errors import UserError
from shared.files import save
from trainer.reporting.table import Cell, table

RESULTS_FILE = "results.json"

Results = dict[str, dict[str, float]]  # metrics by their names, by the split's name and the reading of its scores


def write(work_dir: Path, checkpoint: Path, results: Results) -> None:
    """Leaves the results of a checkpoint in the work dir; a metric of nothing (no object of that size) is null.

    Raises:
        UserError: the file cannot be written.
    """
    finite = {
        name: {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        for name, metrics in results.items()
    }
    content = {"checkpoint": str(checkpoint), "results": finite}
    save(work_dir / RESULTS_FILE, (json.dumps(content, indent=1) + "\n").encode())


def read(work_dir: Path) -> dict[str, dict[str, float | None]]:
    """Metrics by split and reading, as `write` left them.

    Raises:
        UserError: the file is gone or damaged.
    """
    path = work_dir / RESULTS_FILE
    try:
        found: dict[str, dict[str, float | None]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not the results of an evaluation ({error}); remove {path.parent} to evaluate again"
        ) from None
    return found


def as_table(results: Results) -> str:
    """One row for each split, one column for each metric."""
    names = list(dict.fromkeys(name for metrics in results.values() for name in metrics))
    rows: list[list[Cell]] = [["split", *names]]
    rows += [[split, *(metrics.get(name, float("nan")) for name in names)] for split, metrics in results.items()]
    return table(rows)
