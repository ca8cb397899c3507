"""A batch's arrays on the device and on the host."""

from __future__ import annotations

import dataclasses

import numpy as np

from shared.batch import blank_arrays
from trainer.batch import Batch
from trainer.device import jt


def filled(proposals: int) -> dict[str, np.ndarray]:
    """Arrays of a batch with another number in every place."""
    arrays = blank_arrays(2, 32, 64, proposals=proposals)
    for array in arrays.values():
        array.flat = np.arange(array.size)
    return arrays


def test_the_device_has_the_arrays_by_their_names_and_the_host_all_small_ones() -> None:
    arrays = filled(proposals=8)
    batch = Batch.from_arrays(arrays, step=7, seed=3, valid=1)
    on_device = {name: value for name, value in vars(batch).items() if isinstance(value, jt.Var)}
    assert set(on_device) == {field.name for field in dataclasses.fields(Batch)} - {"host", "step", "seed", "valid"}
    for name, value in on_device.items():
        np.testing.assert_array_equal(value.numpy(), arrays[name])
        assert value.dtype == ("float32" if name == "image_shapes" else arrays[name].dtype.name)
    assert set(batch.host) == set(arrays) - {"images", "proposals"}
    assert (batch.step, batch.seed, batch.valid) == (7, 3, 1)


def test_a_batch_stays_as_it_is_when_the_arrays_it_was_made_of_are_written_over() -> None:
    arrays = filled(proposals=0)
    expected = {name: array.copy() for name, array in arrays.items()}
    batch = Batch.from_arrays(arrays)
    for array in arrays.values():
        array[:] = 0
    for name, array in batch.host.items():
        np.testing.assert_array_equal(array, expected[name])
    for name in ("images", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(batch, name).numpy(), expected[name])


def test_every_image_counts_and_there_are_no_proposals_unless_the_arrays_say_so() -> None:
    batch = Batch.from_arrays(filled(proposals=0))
    assert batch.valid == 2
    assert batch.proposals is None and batch.proposal_counts is None
