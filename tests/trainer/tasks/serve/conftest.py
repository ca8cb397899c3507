"""One server for all tests that leave it as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.trainer.detectors import write_clip, write_table
from tests.trainer.tasks.serve.served import Served, words_of

OTHER_NAMES = ["cat", "Blue ring", "dog", "red square"]
# Jittor's, where kernels take it seconds to compile: on a machine that has none of them, or is busy.
PROGRESS = re.compile(r"\s*(Compiling Operators\(.*)?")


class Place(NamedTuple):
    """A server and what it was started with: vocabularies by name, the first its default."""

    server: Served
    detector: tuple[Path, Path]
    vocabularies: dict[str, Path]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("serve")
    detector = write_clip(folder, "FasterRCNN")
    first, second = folder / "vocabulary_FasterRCNN.npy", write_table(folder, "more", OTHER_NAMES, seed=3)
    report = folder / "report.html"
    report.write_text("<!DOCTYPE html><link rel=icon href=data:,><style>h1 { color: rgb(1, 2, 3) }</style><h1>How</h1>")
    words = ("--vocabulary", str(first), str(second), "--rate", "0", "--report", str(report))
    server = Served(folder, *words_of(detector), *words)
    yield Place(server, detector, {first.stem: first, second.stem: second})
    assert server.end() == 0, server.text
    assert "ending: " in server.text.splitlines()[-1]
    lines = [line for line in server.text.splitlines() if not PROGRESS.fullmatch(line)]
    assert all(line.startswith("[trainer ") for line in lines), server.text  # nothing of strangers
