"""The rolling digest tells any two streams apart that did not deliver the same batches."""

from itertools import pairwise

from shared.digest import rolled

BATCHES = [(0, 17, 2), (1, 2**64 - 1, 2), (2, 5, 1)]


def digest_of(batches, digest=""):
    for batch in batches:
        digest = rolled(digest, *batch)
    return digest


def test_the_same_batches_have_the_same_digest_wherever_it_is_taken_up():
    whole = digest_of(BATCHES)
    assert len(whole) == 32
    assert digest_of(BATCHES[1:], digest_of(BATCHES[:1])) == whole


def test_a_change_of_any_field_an_omission_or_another_order_is_another_digest():
    changed = [
        [*BATCHES[:2], (2, 6, 1)],
        [*BATCHES[:2], (2, 5, 2)],
        [*BATCHES[:2], (3, 5, 1)],
        BATCHES[:2],
        [BATCHES[0], BATCHES[0], *BATCHES[1:]],
        BATCHES[::-1],
        BATCHES,
    ]
    digests = sorted(digest_of(batches) for batches in changed)
    assert all(one != other for one, other in pairwise(digests))
