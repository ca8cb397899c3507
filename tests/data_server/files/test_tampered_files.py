"""Tampered files of proposals, ours and pickled lists: refused in one line that names the file, or right."""

import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_server.files import proposal_list
from data_server.files.image_names import ImageNames
from data_server.files.proposal_file import COLUMNS, ProposalFile, Writer
from tests import tampering

IMAGES = [(1, "images/a.jpg"), (2, "images/b.jpg")]


@pytest.mark.slow
def test_files_of_ours(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "train", ImageNames.of(IMAGES), "ab" * 16, "about")
    writer.append(0, np.array([1, 2]), np.arange(3 * COLUMNS, dtype=np.float32).reshape(3, COLUMNS))
    writer.finish()

    def is_right(found: ProposalFile) -> bool:
        fits = found.counts.shape == (len(found.images),) and found.rows.shape == (found.counts.sum(), COLUMNS)
        return fits and isinstance(found.model, str)

    variants = tampering.safetensors_files(writer.path.read_bytes())
    refused = tampering.assert_safe(writer.path, variants, lambda: ProposalFile.open(writer.path), is_right)
    assert refused > 200


def lists() -> Iterator[tuple[str, bytes]]:
    good = [np.array([[1, 2, 3, 4, 0.5]], np.float32), np.zeros((0, 5), np.float32)]
    for protocol in range(6):
        content = pickle.dumps(good, protocol)
        yield from tampering.cuts(content)
        chance = random.Random(protocol)
        for number in range(500):
            wrong = bytearray(content)
            for _ in range(chance.randrange(1, 4)):
                wrong[chance.randrange(len(wrong))] = chance.randrange(256)
            yield f"protocol {protocol}, damage {number}", bytes(wrong)
    for value in (
        *tampering.VALUES,
        np.ones(3),
        [np.ones((2, 3))],
        [np.ones((1, 5), object)],
        [np.ones((1, 5), "M8[s]")],
    ):
        yield repr(value), pickle.dumps(value, 4)
        yield f"[{value!r}]", pickle.dumps([value], 4)
    yield "one array for many images", pickle.dumps([np.ones((20_000, 5), np.float32)] * 1000, 4)


@pytest.mark.slow
def test_pickled_lists(tmp_path: Path) -> None:
    path = tmp_path / "rp.pkl"
    refused = tampering.assert_safe(
        path,
        lists(),
        lambda: proposal_list.read(path),
        lambda found: (found.starts + found.counts <= len(found.rows)).all(),
    )
    assert refused > 1000
