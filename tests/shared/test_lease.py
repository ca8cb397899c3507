"""A batch in a trainer's hands: its bytes are checked before they are used, and it is given back once."""

import os

import numpy as np
import pytest

from shared.arena import Arena, SlotCorrupted, create_memory, read_only, slot_bytes_for
from shared.checksum import Checksum
from shared.layout import Layout
from shared.lease import Lease
from shared.messages import Batch, Release

LAYOUT = Layout.pack([("images", "uint8", (2, 100)), ("labels", "int32", (3,))])
SLOT = 1


@pytest.fixture
def slot():
    """The writer's arena, the message about the batch in its slot, and the reader's arena."""
    memory = create_memory(2, slot_bytes_for(LAYOUT.nbytes))
    writer = Arena(memory, 2, slot_bytes_for(LAYOUT.nbytes), writable=True)
    payload = writer.payload(SLOT)
    for value, view in enumerate(LAYOUT.views(payload).values(), 1):
        view[...] = value
    digest = writer.seal(SLOT, 5, 9, LAYOUT, Checksum(payload))
    shown = read_only(memory)
    yield writer, Batch(3, 9, SLOT, 5, LAYOUT.wire, digest, 2), Arena(shown, 2, writer.slot_bytes, writable=False)
    os.close(shown)
    os.close(memory)


def leased(slot, checksum=True):
    given_back = []
    _, message, arena = slot
    return Lease(message, LAYOUT, arena, given_back.append, checksum=checksum), given_back


def test_it_says_which_batch_it_is_and_has_its_arrays(slot):
    lease, _ = leased(slot)
    assert (lease.epoch, lease.step, lease.valid, lease.digest) == (3, 9, 2, slot[1].digest)
    assert {name: array.tolist() for name, array in lease.arrays.items()} == {
        "images": [[1] * 100] * 2,
        "labels": [2] * 3,
    }


@pytest.mark.parametrize("use", [lambda lease: lease.arrays, lambda lease: lease.check(), lambda lease: lease.copy({})])
def test_a_byte_that_is_another_is_noticed_at_the_first_use_whatever_that_is(slot, use):
    lease, _ = leased(slot)
    slot[0].payload(SLOT)[150] ^= 1
    with pytest.raises(SlotCorrupted):
        use(lease)
    unchecked, _ = leased(slot, checksum=False)
    use(unchecked)


def test_what_was_checked_once_is_not_checked_again(slot):
    lease, _ = leased(slot)
    lease.check()
    slot[0].payload(SLOT)[150] ^= 1
    assert lease.arrays["images"].sum() == 199


def test_a_copy_has_what_was_asked_for_and_counts_as_a_check(slot):
    lease, _ = leased(slot)
    place = np.zeros((2, 100), np.uint8)
    lease.copy({"images": place})
    assert (place == 1).all()
    slot[0].payload(SLOT)[150] ^= 1
    lease.check()


def test_it_is_given_back_once_and_is_of_no_use_then(slot):
    lease, given_back = leased(slot)
    arrays = lease.arrays
    lease.release()
    assert given_back == [Release(SLOT, 5)] and arrays == {}
    for use in (lease.release, lambda: lease.arrays, lambda: lease.copy({})):
        with pytest.raises(ValueError, match="the batch of step 9 has been released; its slot may hold another by now"):
            use()
    assert len(given_back) == 1
