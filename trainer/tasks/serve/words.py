"""The names that a picture is searched for: a vocabulary that is served, or names that somebody types.

    --vocabulary coco.npy mine.npy ──► "coco", "mine"          chosen by their file's name
    typed: cat, "red star"         ──► a row of each           of those vocabularies, --embeddings, or CLIP's (--clip)

A typed name that has no row, where CLIP is not there to make one, is refused with the names that are nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from shared.embeddings import compared
from shared.errors import UserError
from trainer.tasks.serve.encoder import Encoder
from trainer.vocabulary.embeddings import NamedEmbeddings

MOST_NAMES = 256  # that are typed
LONGEST_NAME = 100  # letters
_NEAREST = 4


@dataclass(frozen=True)
class Words:
    """The names of one question.

    Attributes:
        key: tells them from others: the served vocabulary's name, or "" and the names.
        embeddings: None for the detector's own vocabulary.
    """

    key: tuple[str, ...]
    embeddings: NamedEmbeddings | None


class UnknownNames(UserError):
    """Typed names without a row; `nearest` has for each the known names that resemble it, the nearest first."""

    def __init__(self, nearest: dict[str, list[str]], why: str) -> None:
        self.nearest = nearest
        hints = [f"{name!r}" + (f" (nearest: {', '.join(of)})" if of else "") for name, of in nearest.items()]
        super().__init__(f"names: no text embedding of {', '.join(hints)}; {why}")


class Dictionary:
    """All that can be asked for.

    Args:
        own: what the detector's own vocabulary is called, and its names.
        others: more vocabularies, by name.
        tables: where typed names are looked up, the first that has one counts; empty: nothing can be typed.
        encoder: makes rows of names that no table has.
    """

    def __init__(
        self,
        own: tuple[str, list[str]],
        others: dict[str, NamedEmbeddings],
        tables: Sequence[NamedEmbeddings],
        encoder: Encoder | None,
    ) -> None:
        self.default = own[0]
        self.names = {own[0]: own[1], **{title: one.names for title, one in others.items()}}
        self.encoder = encoder
        self._others = others
        self._rows: dict[str, np.ndarray] = {}
        self._written: dict[str, str] = {}
        for table in tables:
            for name, row in zip(table.names, table.embeddings, strict=True):
                self._rows.setdefault(compared(name), row)
                self._written.setdefault(compared(name), name)

    @property
    def takes_names(self) -> bool:
        """Whether names can be typed."""
        return bool(self._rows) or self.encoder is not None

    def vocabulary(self, title: str | None) -> Words:
        """A served vocabulary; None: the default.

        Raises:
            UserError: there is none of this name.
        """
        title = title or self.default
        if title not in self.names:
            raise UserError(f"vocabulary: there is no {title!r}; there are {', '.join(map(repr, self.names))}")
        return Words((title,), self._others.get(title))

    def typed(self, names: Sequence[str]) -> Words:
        """Names of somebody's choice; of one that comes again, in whatever letters, the first counts.

        Raises:
            UnknownNames: some have no row.
            UserError: there are too many, one is empty or too long, or this detector takes no names.
        """
        if not self.takes_names:
            raise UserError("names: this detector has no text embeddings to look names up in; ask without names")
        if len(names) > MOST_NAMES:
            raise UserError(f"names: {len(names)}, at most {MOST_NAMES} can be asked for at once")
        bad = next((name for name in names if not compared(name) or len(name) > LONGEST_NAME), None)
        if bad is not None:
            raise UserError(f"names: {bad[:LONGEST_NAME]!r} is empty or longer than {LONGEST_NAME} letters")
        wanted: dict[str, str] = {}
        for name in names:
            wanted.setdefault(compared(name), name)
        missing = [name for word, name in wanted.items() if word not in self._rows]
        rows = dict(self._rows)
        if missing and self.encoder is not None:
            rows |= dict(zip(map(compared, missing), self.encoder.rows(missing), strict=True))
        elif missing:
            raise UnknownNames(
                {name: self.nearest(name) for name in missing}, "choose known names, or start the server with --clip"
            )
        table = NamedEmbeddings(list(wanted.values()), np.stack([rows[word] for word in wanted]))
        return Words(("", *table.names), table)

    def nearest(self, name: str) -> list[str]:
        """Known names that are written alike, or share a word, the nearest first."""
        word = compared(name)
        alike = get_close_matches(word, self._rows, _NEAREST, 0.6)
        parts = set(word.split())
        alike += [known for known in self._rows if known not in alike and parts & set(known.split())]
        return [self._written[known] for known in alike[:_NEAREST]]
