"""How an epoch's images are cut into batches.

    images in their order ──► groups (wide, high; of each data set) ──► whole batches ──► their order is mixed

MMDetection's AspectRatioBatchSampler puts what its groups leave over into batches that mix them. Here none does: each
group is filled up to whole batches by repeating its first images, as MMDetection 2's GroupSampler does; without
shuffling by repeating its last image, which does not count. With ``drop_last`` what is left over is left out. A square
image is with the high ones, as there.

An epoch has the same number of batches every time. Where the size of the groups varies from epoch to epoch, that number
is what MMDetection calls the length of the dataloader, and the emptier one of two unfilled batches may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_server.serving.orders import Indices, Rows

Groups = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Batching:
    """The rules of one stream.

    Attributes:
        groups: (images,), the number of each image's group.
        shuffled: whether batches come in any order, and repeated images count.
        drop_last: what does not fill a batch is left out.
    """

    groups: Groups
    batch_size: int
    shuffled: bool = True
    drop_last: bool = False

    def length(self, images: int) -> int:
        """The number of batches of so many images, whatever their groups."""
        return images // self.batch_size if self.drop_last else -(-images // self.batch_size)

    def cut(self, order: Indices, batches: int, random: np.random.Generator) -> Rows:
        """The images of `order` as so many batches."""
        size = self.batch_size
        rows, counts = [], []
        for group in self._split(order):
            missing = -len(group) % size
            filler = np.resize(group, missing) if self.shuffled else np.repeat(group[-1:], missing)
            rows.append(np.concatenate([group, filler]).reshape(-1, size))
            counts.append(np.full(len(rows[-1]), size))
            counts[-1][-1] -= missing
        row, count = np.concatenate(rows), np.concatenate(counts)
        if len(row) > batches:
            kept = np.sort(np.argsort(-count, kind="stable")[:batches])
            row, count = row[kept], count[kept]
        if self.shuffled:
            row, count = row[random.permutation(len(row))], np.full(len(row), size)
        return row.astype(np.int32), count

    def _split(self, order: Indices) -> list[Indices]:
        of = self.groups[order]
        return [order[of == number] for number in np.flatnonzero(np.bincount(of))]
