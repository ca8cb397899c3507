"""The card that stands in for one: its memory has an end, and what is asked of it is counted."""

import ctypes

import pytest

from tests.cuda_standin import card, toolkit

GIB = 2**30
OUT_OF_MEMORY, INVALID_CONFIGURATION = 2, 9
TO_DEVICE, TO_HOST = 1, 2


class Dim3(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    toolkit.install()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STANDIN_GIB", "2")
        library = ctypes.CDLL(str(toolkit.LIBRARY))
        library.cudaMemGetInfo(ctypes.byref(ctypes.c_size_t()), ctypes.byref(ctypes.c_size_t()))  # looks at it once
    library.cudaMemcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.cudaMemcpyAsync.argtypes = [*library.cudaMemcpy.argtypes, ctypes.c_void_p]
    library.cudaMalloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.cudaFree.argtypes = [ctypes.c_void_p]
    library.standin_launch.argtypes = [Dim3, Dim3, ctypes.c_size_t]
    return library


def test_memory_ends_where_the_cards_and_its_context_do(library: ctypes.CDLL) -> None:
    block, other = ctypes.c_void_p(), ctypes.c_void_p()
    before = card.counts()
    assert library.cudaMalloc(ctypes.byref(block), GIB) == 0
    assert library.cudaMalloc(ctypes.byref(other), GIB) == OUT_OF_MEMORY  # the context has half of the second one
    assert card.since(before)["bytes"] == card.since(before)["peak"] == GIB
    assert library.cudaFree(block) == 0
    assert (card.counts()["bytes"], card.counts()["peak"]) == (0, GIB)
    assert library.cudaGetLastError() == OUT_OF_MEMORY and library.cudaGetLastError() == 0


def test_copies_and_waits_are_counted_by_their_kind(library: ctypes.CDLL) -> None:
    array = (ctypes.c_char * 8)()
    before = card.counts()
    library.cudaMemcpy(array, array, 8, TO_DEVICE)
    library.cudaMemcpyAsync(array, array, 8, TO_DEVICE, None)
    library.cudaMemcpy(array, array, 4, TO_HOST)
    library.cudaDeviceSynchronize()
    found = card.since(before)
    assert (found["uploads"], found["blocking_uploads"], found["uploaded_bytes"]) == (2, 1, 16)
    assert (found["downloads"], found["downloaded_bytes"], found["waits"]) == (1, 4, 1)


def test_a_launch_that_no_card_takes_is_an_error(library: ctypes.CDLL) -> None:
    before = card.counts()
    library.standin_launch(Dim3(70_000, 1, 1), Dim3(256, 1, 1), 0)
    assert library.cudaGetLastError() == 0
    for blocks, threads, shared in (
        (Dim3(1, 70_000, 1), Dim3(256, 1, 1), 0),
        (Dim3(1, 1, 1), Dim3(32, 33, 1), 0),
        (Dim3(1, 1, 1), Dim3(256, 1, 1), 49 << 10),
        (Dim3(0, 1, 1), Dim3(256, 1, 1), 0),
    ):
        library.standin_launch(blocks, threads, shared)
        assert library.cudaGetLastError() == INVALID_CONFIGURATION
    assert card.since(before)["launches"] == 5
