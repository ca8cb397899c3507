import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.layout import ALIGNMENT, MAX_FIELDS, MAX_RANK, Layout, LayoutError

ARRAYS = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=5),
        st.sampled_from(["uint8", "int32", "int64", "float32"]),
        st.lists(st.integers(0, 5), max_size=MAX_RANK).map(tuple),
    ),
    max_size=6,
    unique_by=lambda array: array[0],
)


@given(ARRAYS)
@settings(max_examples=60)
def test_a_layout_survives_the_wire_and_its_arrays_do_not_touch_each_other(arrays):
    layout = Layout.pack(arrays)
    assert Layout.from_wire(layout.wire, layout.nbytes) == layout
    payload = np.zeros(layout.nbytes, np.uint8)
    views = layout.views(payload)
    for number, (name, dtype, shape) in enumerate(arrays):
        assert (views[name].dtype.name, views[name].shape) == (dtype, shape)
        views[name][...] = number + 1
    for number, (name, _, _) in enumerate(arrays):
        assert (views[name] == number + 1).all()


def row(name="images", dtype="uint8", shape=(4, 16), offset=0):
    return [name, dtype, list(shape), offset]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(), row("boxes", offset=0)], "overlaps"),
        ([row(shape=(65,)), row("boxes", offset=64)], "overlaps"),
        ([row(offset=8)], "not aligned"),
        ([row(shape=(1000,))], "end at byte 1024, the slot holds 256"),
        ([row(offset=256)], "end at byte 320"),
        ([row(shape=(2**39, 2**39))], "the slot holds 256"),
        ([row(dtype="object")], "dtype 'object'"),
        ([row(dtype="O")], "dtype 'O'"),
        ([row(dtype=["uint8"])], "dtype"),
        ([row(dtype="float64")], "dtype 'float64'"),
        ([row(shape=(-1,))], "bad shape"),
        ([row(offset=-64)], "bad shape or offset"),
        ([row(shape=(True,))], "bad shape"),
        ([row(shape=(1.0,))], "bad shape"),
        ([row(shape=(1,) * (MAX_RANK + 1))], "bad shape"),
        ([row(name=3)], "array 3"),
        ([row(shape=(0,)), row(shape=(0,))], "two arrays of one name"),
        ([["images", "uint8", [4]]], r"\[name, dtype, shape, offset\]"),
        ([row(name=f"{n}", shape=(0,)) for n in range(MAX_FIELDS + 1)], "at most 32"),
        ("images", "at most 32"),
    ],
)
def test_a_layout_that_lies_is_refused(rows, said):
    with pytest.raises(LayoutError, match=said):
        Layout.from_wire(msgpack.packb(rows), 256)


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (msgpack.packb([]) + b"x", "not msgpack"),
        (msgpack.packb({}), "at most 32"),
        (msgpack.packb({1: 2}), "not msgpack"),
        (bytes(5000), "a layout of 5000 bytes, the limit is 4096"),
    ],
)
def test_what_is_no_layout_at_all_is_refused(wire, said):
    with pytest.raises(LayoutError, match=said):
        Layout.from_wire(wire, 256)


def test_the_gaps_between_arrays_are_zeroed_and_nothing_else():
    layout = Layout.pack([("a", "uint8", (3,)), ("b", "int32", (1,))])
    payload = np.full(layout.nbytes, 255, np.uint8)
    layout.clear_gaps(payload)
    assert payload[:3].all() and payload[ALIGNMENT : ALIGNMENT + 4].all()
    assert payload.sum() == 7 * 255


def test_a_payload_is_filled_with_arrays_and_zeros_between_them():
    arrays = {"a": np.arange(3, dtype=np.uint8), "b": np.ones((2, 2), np.float32)}
    layout = Layout.of(arrays)
    payload = layout.filled(arrays)
    for name, view in layout.views(payload).items():
        np.testing.assert_array_equal(view, arrays[name])
    assert payload.nbytes == layout.nbytes == 2 * ALIGNMENT and not payload[3:ALIGNMENT].any()
