"""``quarantine.jsonl`` in the work dir: the samples that killed the workers that loaded them, one JSON line each.

{"image": file, "index": place in the data set, "step": of the batch, "reason": ..., "replaced": true or false}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from shared.messages import Quarantined
from trainer.process.journal import Journal

FILE = "quarantine.jsonl"


class Quarantine:
    """The file of one work dir, which is made when there is a first sample to note.

    Args:
        say: a line for the user.
    """

    def __init__(self, work_dir: Path, say: Callable[[str], None]) -> None:
        self._journal = Journal(work_dir / FILE, say)
        self._say = say

    def record(self, sample: Quarantined) -> None:
        """Adds a line for `sample`, and says so."""
        line = {
            "image": sample.image,
            "index": sample.index,
            "step": sample.step,
            "reason": sample.reason,
            "replaced": sample.replaced,
        }
        what = "the next sample takes its place" if sample.replaced else "the stream ends"
        self._say(f"image {sample.image!r} kills its worker: {sample.reason}; {what}; noted in {self._journal.path}")
        self._journal.add(json.dumps(line).encode() + b"\n")
        self._journal.flush()

    def close(self) -> None:
        self._journal.close()
