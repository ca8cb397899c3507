"""``quarantine.jsonl`` in the work dir: the samples that killed the workers that loaded them, one JSON line each.

{"image": file, "index": place in the data set, "step": of the batch, "reason": ..., "replaced": true or false}
"""

from __future__ import annotations

import json
from pathlib import Path

from shared.messages import Quarantined

FILE = "quarantine.jsonl"


def record(work_dir: Path, sample: Quarantined) -> str:
    """Adds a line for `sample`; returns one for the log."""
    path = work_dir / FILE
    line = {
        "image": sample.image,
        "index": sample.index,
        "step": sample.step,
        "reason": sample.reason,
        "replaced": sample.replaced,
    }
    work_dir.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    what = "the next sample takes its place" if sample.replaced else "the stream ends"
    return f"image {sample.image!r} kills its worker: {sample.reason}; {what}; noted in {path}"
