"""Random keys: Philox's published numbers, the same on CPU and GPU, a place for every draw, and their distribution."""

import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.models.ops.cuda_sources import record, run
from tests.trainer.models.ops.random_calls import draw_keys
from trainer.device import jit_kernel_count
from trainer.models.ops import random_keys as module
from trainer.models.ops.random_keys import Draw, Use, random_keys

HEADER = Path(module.__file__).with_name("philox.h")
# Random123's kat_vectors, philox4x32 10: a counter, a key, and what they give.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
PROGRAM = """
#include <cstdio>
#include "philox.h"
int main() {
    uint32_t w[6];
    while (scanf("%u %u %u %u %u %u", w, w + 1, w + 2, w + 3, w + 4, w + 5) == 6) {
        const philox::Words drawn = philox::draw({{w[0], w[1], w[2], w[3]}}, w[4], w[5]);
        for (uint32_t word : drawn.word) printf("%u ", word);
    }
}
"""


def words(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], np.uint64)


def philox(counters: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Philox 4x32-10 of counters u64 (n,4) and keys u64 (n,2), all below 2^32, by the paper."""
    (a, b, c, d), (key, other), low = counters.T.copy(), keys.T.copy(), np.uint64(0xFFFFFFFF)
    for _ in range(10):
        even, odd = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = odd >> np.uint64(32) ^ b ^ key, odd & low, even >> np.uint64(32) ^ d ^ other, even & low
        key, other = key + np.uint64(0x9E3779B9) & low, other + np.uint64(0xBB67AE85) & low
    return np.stack([a, b, c, d], 1)


def expected_keys(draw: Draw, rows: int, columns: int) -> np.ndarray:
    parts = -(-columns // 4)
    places = np.array([(part, row, draw.step, 0) for row, part in product(range(rows), range(parts))], np.uint64)
    drawn = philox(places, np.broadcast_to(np.array([draw.seed, draw.use], np.uint64), (len(places), 2)))
    return (drawn.reshape(rows, -1)[:, :columns] >> np.uint64(8)).astype(np.float32) / np.float32(1 << 24)


@pytest.mark.parametrize(("counter", "key", "drawn"), KNOWN)
def test_numpys_philox_gives_the_published_numbers(counter: str, key: str, drawn: str) -> None:
    np.testing.assert_array_equal(philox(words(counter)[None], words(key)[None])[0], words(drawn))


def test_our_source_gives_the_published_numbers_and_numpys_for_random_counters(tmp_path: Path) -> None:
    (tmp_path / "main.cpp").write_text(PROGRAM)
    subprocess.run(["g++", "-I", HEADER.parent, "-o", tmp_path / "main", tmp_path / "main.cpp"], check=True)
    known = np.stack([np.concatenate([words(counter), words(key)]) for counter, key, _ in KNOWN])
    asked = np.concatenate([known, np.random.default_rng(0).integers(0, 1 << 32, (2000, 6), np.uint64)])
    text = " ".join(map(str, asked.ravel().tolist()))
    done = subprocess.run([tmp_path / "main"], input=text, capture_output=True, text=True, check=True)
    found = np.array(done.stdout.split(), np.uint64).reshape(-1, 4)
    np.testing.assert_array_equal(found[:3], np.stack([words(drawn) for *_, drawn in KNOWN]))
    np.testing.assert_array_equal(found, philox(asked[:, :4], asked[:, 4:]))


@pytest.mark.parametrize(
    ("seed", "step", "use", "shape"),
    [
        (0, 0, Use.STRICT_ANCHORS, (1, 1)),
        (2**32 - 1, 2**32 - 1, Use.CLASSES, (3, 7)),
        (3407, 89_999, Use.ROIS, (2, 2051)),
        (1, 12, Use.WIDE_ANCHORS, (5, 64)),
    ],
)
def test_keys_are_the_upper_bits_of_philox_to_the_last_one(seed: int, step: int, use: Use, shape: tuple) -> None:
    draw = Draw(seed, step, use)
    np.testing.assert_array_equal(random_keys(draw, shape).numpy(), expected_keys(draw, *shape))


@pytest.mark.parametrize("seed", range(5))
def test_a_gpu_draws_the_same_bits(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (expected,) = draw_keys(np.random.default_rng(seed))
    recorded = record(module, lambda: draw_keys(np.random.default_rng(seed)), monkeypatch)[-1]
    np.testing.assert_array_equal(run(recorded, tmp_path)[0], expected.numpy())


def test_another_seed_step_use_or_number_of_boxes_compiles_nothing() -> None:
    random_keys(Draw(0, 0, Use.ROIS), (2, 9)).sync()
    before = jit_kernel_count()
    random_keys(Draw(1, 0, Use.ROIS), (2, 9)).sync()
    random_keys(Draw(0, 70_000, Use.ROIS), (2, 9)).sync()
    random_keys(Draw(0, 0, Use.CLASSES), (3, 1000)).sync()
    assert jit_kernel_count() == before


def test_every_seed_step_use_and_row_has_keys_of_its_own() -> None:
    draws = [Draw(*place) for place in product((0, 1, 2), (0, 1, 2), Use)]
    rows = np.concatenate([random_keys(draw, (3, 4000)).numpy() for draw in draws])
    shares = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(shares).max() < 6 / np.sqrt(rows.shape[1])  # standard deviations of 5,778 pairs
    steps = np.concatenate([random_keys(Draw(0, step, Use.ROIS), (1, 4000)).numpy() for step in range(100)])
    assert np.abs(np.corrcoef(steps.T[:200]) - np.eye(200)).max() < 0.6  # of a column through the steps


def test_an_images_keys_do_not_depend_on_the_other_images_or_on_how_many_boxes_there_are() -> None:
    draw = Draw(5, 6, Use.ROIS)
    large = random_keys(draw, (4, 1001)).numpy()
    np.testing.assert_array_equal(random_keys(draw, (2, 50)).numpy(), large[:2, :50])


def surprise(counts: np.ndarray) -> float:
    """By how many standard deviations the chi-square of counts, each as likely as all others, is not the expected."""
    expected, freedom = counts.sum() / len(counts), len(counts) - 1
    return float(abs(((counts - expected) ** 2).sum() / expected - freedom) / np.sqrt(2 * freedom))


def test_keys_are_uniform_from_0_to_1() -> None:
    keys = np.concatenate([random_keys(Draw(7, step, Use.ROIS), (2, 100_000)).numpy().ravel() for step in range(5)])
    assert keys.min() >= 0
    assert keys.max() < 1
    places = (keys * 1000).astype(int)
    assert surprise(np.bincount(places, minlength=1000)) < 5
    pairs = (keys[::2] * 32).astype(int) * 32 + (keys[1::2] * 32).astype(int)
    assert surprise(np.bincount(pairs, minlength=1024)) < 5
    bits = (keys * 2**24).astype(np.int64)
    shares = np.array([(bits >> bit & 1).mean() for bit in range(24)])
    assert np.abs(shares - 0.5).max() < 5 * 0.5 / np.sqrt(len(keys))
