"""What a recipe remembers from one start to the next: ``state.json`` in its work dir.

    (no entry) ──► running ──► done          running: started from this fingerprint, not known to have ended
                      ▲  └ killed, failed ─► running, at the next start with the same fingerprint: its task resumes
                      └── done, but something that goes in has changed: its work dir is made anew first

Whether a step's work dir holds what its entry says, the fingerprint in that folder tells. This file is written as a
whole, before a step's work dir is touched and after its results are complete. Human-readable.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shared.errors import UserError
from shared.files import save

STATE_FILE = "state.json"
RUNNING, DONE = "running", "done"


@dataclass
class Entry:
    """One step.

    Attributes:
        state: RUNNING or DONE.
        fingerprint: of what it was started with.
        command: that runs it.
        seconds: it took, all starts together.
        results: digest of each file that came out, by its path inside the step's work dir.
    """

    state: str
    fingerprint: str
    command: str
    seconds: float = 0.0
    results: dict[str, str] = field(default_factory=dict)


class State:
    """The entries of all steps, by name, as they are on disk."""

    def __init__(self, work_dir: Path, recipe: str) -> None:
        """Reads what is there.

        Raises:
            UserError: the file holds something else.
        """
        self.path = work_dir / STATE_FILE
        self.recipe = recipe
        self.entries: dict[str, Entry] = {}
        if not self.path.exists():
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            self.entries = {name: Entry(**entry) for name, entry in content["steps"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.path} is not the state of a recipe ({error}); remove it and the folders beside it to start over"
            ) from None

    def put(self, name: str, entry: Entry) -> None:
        """Keeps an entry.

        Raises:
            UserError: the file cannot be written.
        """
        self.entries[name] = entry
        content = {"recipe": self.recipe, "steps": {name: asdict(entry) for name, entry in self.entries.items()}}
        save(self.path, (json.dumps(content, indent=2) + "\n").encode())
