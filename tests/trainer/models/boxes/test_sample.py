"""The random sampler: numbers, weights, order and distribution."""

import numpy as np

from tests.parity.models import first_k_keys
from trainer.device import var
from trainer.models.boxes.sample import RandomSampler
from trainer.models.ops.random_keys import Draw, Use

DRAW = Draw(0, 0, Use.ROIS)


def assignment(positives: int, negatives: int, ignored: int, images: int = 2) -> np.ndarray:
    row = np.array([3] * positives + [0] * negatives + [-1] * ignored, np.int32)
    return np.stack([np.random.default_rng(i).permutation(row) for i in range(images)])


def test_positives_are_capped_and_negatives_fill_up() -> None:
    assigned = assignment(positives=40, negatives=100, ignored=30)
    samples = RandomSampler(num=64, pos_fraction=0.25)(var(assigned), DRAW)
    index, positive = samples.index.numpy(), samples.positive.numpy()
    assert samples.weight.numpy().sum(1).tolist() == [64, 64]
    assert samples.positives.numpy().tolist() == positive.sum(1).tolist() == [16, 16]
    assert samples.negatives.numpy().tolist() == [48, 48]
    for i in range(2):
        assert len(set(index[i])) == 64
        np.testing.assert_array_equal(assigned[i][index[i]] > 0, positive[i] > 0)
        assert (assigned[i][index[i]] >= 0).all()
    np.testing.assert_array_equal(samples.truth.numpy(), np.where(positive > 0, 2, 0))


def test_too_few_candidates_leave_slots_without_weight() -> None:
    samples = RandomSampler(num=64, pos_fraction=0.5)(var(assignment(positives=3, negatives=10, ignored=100)), DRAW)
    np.testing.assert_array_equal(samples.weight.numpy(), np.tile(np.arange(64) < 13, (2, 1)))
    np.testing.assert_array_equal(samples.positive.numpy(), np.tile(np.arange(64) < 3, (2, 1)))


def test_an_image_without_positives_is_all_negatives() -> None:
    samples = RandomSampler(num=16, pos_fraction=0.5)(var(assignment(positives=0, negatives=50, ignored=0)), DRAW)
    assert samples.positive.numpy().sum() == 0
    assert samples.weight.numpy().sum() == 32


def test_without_any_candidate_nothing_has_weight() -> None:
    samples = RandomSampler(num=16, pos_fraction=0.5)(var(assignment(positives=0, negatives=0, ignored=50)), DRAW)
    assert samples.weight.numpy().sum() == 0


def test_replaced_keys_take_the_first_of_each_kind_in_order() -> None:
    assigned = assignment(positives=40, negatives=100, ignored=30)
    sampler = RandomSampler(num=64, pos_fraction=0.25)
    sampler.keys = first_k_keys
    index = sampler(var(assigned), DRAW).index.numpy()
    for i in range(2):
        expected = [*np.flatnonzero(assigned[i] > 0)[:16], *np.flatnonzero(assigned[i] == 0)[:48]]
        np.testing.assert_array_equal(index[i], expected)


def test_every_candidate_is_equally_likely() -> None:
    rounds, images = 50, 20
    assigned = np.repeat(assignment(positives=20, negatives=30, ignored=10, images=1), images, 0)
    sampler = RandomSampler(num=15, pos_fraction=1 / 3)
    counts = np.zeros(assigned.shape[1])
    for step in range(rounds):
        samples = sampler(var(assigned), Draw(0, step, Use.ROIS))
        counts += np.bincount(samples.index.numpy().ravel(), minlength=len(counts))
    # 1000 draws of 5 of 20 and of 10 of 30: standard deviations 13.7 and 14.9, so 5 of them hold for all 50 at once.
    assert np.abs(counts[assigned[0] > 0] - 250).max() < 70
    assert np.abs(counts[assigned[0] == 0] - 1000 / 3).max() < 75
    assert counts[assigned[0] < 0].sum() == 0
