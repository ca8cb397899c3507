"""The orders in which MMEngine's and MMDetection's samplers hand out images, cut into batches: functions of the epoch.

    default        DefaultSampler              every image once an epoch, or a share of each data set
    infinite       InfiniteSampler             one time through the data after the other; batches do not end with it
    class_aware    ClassAwareSampler           one class after the other, an image of it
    multi_source   MultiSourceSampler and      a fixed number of images of each data set in a batch
                   GroupMultiSourceSampler
    sample_sizes   CustomSampleSizeSampler     a fixed number of images of each data set in an epoch

MMDetection's samplers are iterators; these say what is in any batch at once, so that a run can go on anywhere. An epoch
of a sampler that never ends has as many batches as the data need, like the length of MMEngine's dataloader.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Rows = tuple[npt.NDArray[np.int32], Indices]


class Order(Protocol):
    """One data set's order. `batches_per_epoch` is the same for all epochs."""

    batches_per_epoch: int

    def batches(self, epoch: int) -> Rows:
        """The images of all batches of an epoch, (batches, batch_size), and how many of each count, (batches,)."""
