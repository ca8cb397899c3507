"""What ``quarantine.jsonl`` says, and that a disk that does not take it ends nothing."""

from __future__ import annotations

import json
from pathlib import Path

from shared.messages import Quarantined
from trainer.feed.quarantine import FILE, Quarantine

SAMPLE = Quarantined(step=7, index=3, image="images/03.jpg", reason="was killed by SIGSEGV", replaced=True)


def test_a_line_names_image_place_and_reason(tmp_path: Path) -> None:
    said: list[str] = []
    quarantine = Quarantine(tmp_path / "work", said.append)
    assert not list(tmp_path.iterdir())  # nothing has to be noted yet
    quarantine.record(SAMPLE)
    quarantine.close()
    (line,) = (tmp_path / "work" / FILE).read_text().splitlines()
    assert json.loads(line) == {
        "image": "images/03.jpg",
        "index": 3,
        "step": 7,
        "reason": "was killed by SIGSEGV",
        "replaced": True,
    }
    assert said == [
        "image 'images/03.jpg' kills its worker: was killed by SIGSEGV; the next sample takes its place; noted in "
        f"{tmp_path}/work/{FILE}"
    ]


def test_a_line_that_cannot_be_written_ends_nothing_and_follows(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / FILE).mkdir()
    quarantine = Quarantine(tmp_path, said.append)
    quarantine.record(SAMPLE)
    assert said[1:] == [f"cannot write {tmp_path}/{FILE}: Is a directory; the run continues, free some space"]
    (tmp_path / FILE).rmdir()
    quarantine.close()
    assert json.loads((tmp_path / FILE).read_text())["image"] == SAMPLE.image
