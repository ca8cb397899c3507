"""numpy as MMDetection's `eval_recalls` knew it."""

import numpy as np
from mmdet.evaluation.functional import recall

from data_server.workers import ragged


def test_arrays_of_different_shapes_become_an_array_of_arrays_and_all_others_what_they_were():
    ragged.allow()
    ours = recall.np
    found = ours.array([np.zeros((2, 3)), np.zeros((1, 3)), np.zeros((0, 3))])
    assert found.dtype == object and [one.shape for one in found] == [(2, 3), (1, 3), (0, 3)]
    assert ours.array([np.zeros((2, 3)), np.ones((2, 3))]).shape == (2, 2, 3)
    assert ours.array([1, 2], np.float32).dtype == np.float32 and ours.array([], dtype=np.int8).dtype == np.int8
    assert ours.array((1, 2)).tolist() == [1, 2]
    assert ours.zeros is np.zeros
