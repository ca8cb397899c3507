"""One small fault in one source file."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "data_server", "trainer")


@dataclass(frozen=True)
class Mutant:
    """Bytes `start` to `end` of the file `path` (relative to the project) become `text`.

    Attributes:
        line, column: of `start`, from 1.
        function: the qualified name of the innermost function around it; empty outside of functions.
        change: what the file says and what it would say, on one line.
    """

    path: str
    line: int
    column: int
    start: int
    end: int
    text: str
    function: str
    change: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.change}"

    def applied_to(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def draw(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them in random order, so that the first N are a sample as well."""
    return random.Random(seed).sample(mutants, min(count, len(mutants)))


def digest(*paths: Path) -> str:
    """Of the bytes of files."""
    value = hashlib.blake2b(digest_size=8)
    for path in paths:
        value.update(path.read_bytes())
    return value.hexdigest()
