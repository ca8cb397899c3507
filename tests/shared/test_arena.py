import fcntl
import mmap
import os
import resource

import numpy as np
import pytest

from shared.arena import HEADER_BYTES, Arena, SlotCorrupted, create_memory, in_hand, read_only, slot_bytes_for
from shared.checksum import BAND_BYTES, Checksum
from shared.layout import Layout

LAYOUT = Layout.pack([("images", "uint8", (2, 100)), ("labels", "int32", (3,))])
SLOT_BYTES = slot_bytes_for(LAYOUT.nbytes)
SLOTS = 3


@pytest.fixture
def memory():
    descriptor = create_memory(SLOTS, SLOT_BYTES)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def writer(memory):
    return Arena(memory, SLOTS, SLOT_BYTES, writable=True)


@pytest.fixture
def reader(memory):
    descriptor = read_only(memory)
    yield Arena(descriptor, SLOTS, SLOT_BYTES, writable=False)
    os.close(descriptor)


def write(arena, slot=1, generation=5, step=9):
    payload = arena.payload(slot)
    for value, view in enumerate(LAYOUT.views(payload).values()):
        view[...] = value + 1
    return arena.seal(slot, generation, step, LAYOUT, Checksum(payload))


def verify(arena, slot, generation, step, layout, digest, **options):
    arena.verify_header(slot, generation, step, layout, digest)
    arena.copy_payload(slot, step, layout, digest, {}, **options)


def test_what_a_writer_seals_a_reader_verifies(writer, reader):
    digest = write(writer)
    verify(reader, 1, 5, 9, LAYOUT, digest)
    assert (LAYOUT.views(reader.payload(1))["labels"] == 2).all()
    assert not reader.payload(0).any() and not reader.payload(2).any()


@pytest.mark.parametrize("place", [0, 150, LAYOUT.nbytes - 1])
def test_a_flipped_bit_in_the_payload_is_noticed(writer, reader, place):
    digest = write(writer)
    writer.payload(1)[place] ^= 1
    with pytest.raises(SlotCorrupted, match="payload of step 9 in slot 1"):
        verify(reader, 1, 5, 9, LAYOUT, digest)


@pytest.mark.parametrize("place", range(0, HEADER_BYTES, 7))
def test_a_flipped_bit_in_the_header_is_noticed(writer, reader, place):
    digest = write(writer)
    writer.header(1)[place] ^= 128
    with pytest.raises(SlotCorrupted, match="header of slot 1"):
        verify(reader, 1, 5, 9, LAYOUT, digest)


def test_a_copy_is_checked_on_the_way_whatever_part_of_it_was_asked_for(writer, reader):
    digest = write(writer)
    for names in (["images"], ["labels"], ["images", "labels"]):
        places = {name: np.zeros_like(view) for name, view in LAYOUT.views(reader.payload(1)).items() if name in names}
        reader.copy_payload(1, 9, LAYOUT, digest, places)
        assert all((places[name] == LAYOUT.views(reader.payload(1))[name]).all() for name in names)
        for flipped in (0, 150, LAYOUT.nbytes - 1):
            writer.payload(1)[flipped] ^= 1
            with pytest.raises(SlotCorrupted, match="payload of step 9 in slot 1"):
                reader.copy_payload(1, 9, LAYOUT, digest, places)
            writer.payload(1)[flipped] ^= 1


def test_a_copy_of_many_bands_has_every_byte():
    layout = Layout.pack([("images", "uint8", (3 * BAND_BYTES + 5,)), ("labels", "int32", (3,))])
    size = slot_bytes_for(layout.nbytes)
    descriptor = create_memory(1, size)
    arena = Arena(descriptor, 1, size, writable=True)
    os.close(descriptor)
    payload = arena.payload(0)
    payload[:] = np.random.default_rng(0).integers(0, 256, len(payload), dtype=np.uint8)
    digest = arena.seal(0, 1, 1, layout, Checksum(payload))
    place = np.zeros(layout.shape("images"), np.uint8)
    arena.copy_payload(0, 1, layout, digest, {"images": place})
    assert (place == layout.views(payload)["images"]).all()


def test_a_place_that_is_no_plain_piece_of_memory_is_refused(writer, reader):
    digest = write(writer)
    with pytest.raises(ValueError, match="contiguous"):
        reader.copy_payload(1, 9, LAYOUT, digest, {"images": np.zeros((2, 200), np.uint8)[:, ::2]})
    with pytest.raises(TypeError, match="buffer is too small"):
        reader.copy_payload(1, 9, LAYOUT, digest, {"images": np.zeros((2, 99), np.uint8)})


def test_without_the_payloads_checksum_a_stale_header_is_still_noticed(writer, reader):
    write(writer)
    assert writer.seal(1, 5, 9, LAYOUT, Checksum(writer.payload(1), wanted=False)) == 0
    writer.payload(1)[150] ^= 1
    verify(reader, 1, 5, 9, LAYOUT, 0, checksum=False)
    for generation, step in ((4, 9), (5, 8)):
        with pytest.raises(SlotCorrupted, match="header of slot 1"):
            verify(reader, 1, generation, step, LAYOUT, 0, checksum=False)


def test_an_older_generation_another_step_or_another_layout_is_noticed(writer, reader):
    digest = write(writer)
    other = Layout.pack([("images", "uint8", (2, 100)), ("labels", "int32", (4,))])
    for generation, step, layout in ((4, 9, LAYOUT), (5, 8, LAYOUT), (5, 9, other)):
        with pytest.raises(SlotCorrupted):
            verify(reader, 1, generation, step, layout, digest)


def test_the_memory_is_sealed_and_can_neither_grow_nor_shrink(memory):
    for size in (SLOTS * SLOT_BYTES + 4096, 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(memory, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_all_pages_are_allocated_when_the_memory_is_made(memory):
    assert os.fstat(memory).st_blocks * 512 == SLOTS * SLOT_BYTES


def test_a_read_only_descriptor_cannot_be_mapped_writable(memory):
    descriptor = read_only(memory)
    with pytest.raises(PermissionError):
        mmap.mmap(descriptor, SLOT_BYTES, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(descriptor, b"x")
    os.close(descriptor)


def test_a_readers_views_cannot_be_written(writer, reader):
    write(writer)
    with pytest.raises(ValueError, match="read-only"):
        reader.payload(1)[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        reader.payload(1).flags.writeable = True


def test_memory_of_another_size_or_without_seals_is_no_arena(memory):
    with pytest.raises(ValueError, match="not an arena of 2 slots"):
        Arena(memory, 2, SLOT_BYTES, writable=True)
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, SLOTS * SLOT_BYTES)
    with pytest.raises(ValueError, match="not an arena"):
        Arena(unsealed, SLOTS, SLOT_BYTES, writable=True)
    os.close(unsealed)


def test_what_is_in_hand_is_known_of_a_slot_whoever_made_it_has_died_over(memory, writer):
    assert in_hand(memory, 1, SLOT_BYTES) == (0, "")
    writer.take_in_hand(1, 3, "images/größte.jpg")
    assert in_hand(memory, 1, SLOT_BYTES) == (3, "images/größte.jpg")
    writer.take_in_hand(1, 4, "x")
    assert [in_hand(memory, slot, SLOT_BYTES) for slot in range(SLOTS)] == [(0, ""), (4, "x"), (0, "")]
    writer.take_in_hand(1, 0)
    assert in_hand(memory, 1, SLOT_BYTES) == (0, "")


def test_a_note_longer_than_its_place_is_cut(memory, writer):
    writer.take_in_hand(2, 1, "é" * 3000)
    place, note = in_hand(memory, 2, SLOT_BYTES)
    assert place == 1 and note == "é" * len(note) and 100 < len(note) < 3000


def test_a_slot_holds_the_payload_it_was_sized_for_in_whole_pages():
    for nbytes in (1, 4031, 4032, 4033, 100_000):
        size = slot_bytes_for(nbytes)
        assert size % mmap.PAGESIZE == 0 and nbytes <= size - HEADER_BYTES < nbytes + mmap.PAGESIZE + 64


def test_memory_that_the_kernel_refuses_leaves_no_descriptor_behind():
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SLOT_BYTES, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            create_memory(2, SLOT_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(os.listdir("/proc/self/fd")) == before


def test_sealing_makes_a_slots_bytes_depend_on_the_batch_alone(writer):
    writer.payload(0)[:] = np.arange(writer.capacity, dtype=np.uint64).astype(np.uint8)
    assert write(writer, slot=0) == write(writer, slot=1)
