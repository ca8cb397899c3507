"""A step of several ranks: which batches it has, and what the ranks tell each other in it.

A batch is a step of the run, whichever rank computes it: epochs, the learning rate, intervals and the log count batches
of all ranks. So N ranks do what one rank does with ``accumulative_counts`` N times as large, and with the same bits:
the gradients of an update are added in the order of its batches. With 3 ranks, accumulative_counts=1 and a checkpoint
after step 5::

    batch       0   1   2 | 3   4 | 5 | 6   7   8 |       of rank number % 3
    turn        0         | 1     | 2 | 3         |
    update                 ▲           ▲           ▲      after 3 batches, as ever

A turn ends where an update, a checkpoint or an evaluation follows; a rank without a batch in it only takes part in the
sum. Beside gradients a rank says what its losses are, which signal it has been sent, what its weights look like, and
that it has failed. All ranks hear the same, and so they decide the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import xxhash

from shared.client import StreamFailed
from shared.errors import UserError
from trainer.device import jt, nn
from trainer.feed.server import DataServerLost
from trainer.process.out_of_memory import OutOfMemory
from trainer.process.ranks import RECORD_BYTES, Numbers, RankFailed, Ranks
from trainer.training.guards import TrainingFault

_MOST_TEXT = RECORD_BYTES // 16
_NO_BATCH = range(1)  # a sum names a rank that takes part, also where it has no numbers


@dataclass(frozen=True)
class Record:
    """What a rank says in a turn.

    Attributes:
        weights: a checksum of the weights that the turn began with.
        terms: its batch's losses and monitors, by name; without a batch there are none.
        images: how many its batch has.
        signal: that has asked for an end; 0: none.
        failed: why it cannot go on.
    """

    weights: str = ""
    terms: dict[str, float] = field(default_factory=dict)
    images: int = 0
    signal: int = 0
    failed: str = ""


def turn(step: int, size: int, counts: int, total: int, stops: Callable[[int], bool]) -> range:
    """The batches that `size` ranks take next.

    Args:
        step: the first of them.
        counts: how many batches make an update.
        total: batches of the run.
        stops: whether something other than an update follows so many finished steps.
    """
    most = min(step + size, step - step % counts + counts, total)
    return range(step, next((end for end in range(step + 1, most) if stops(end)), most))


def checksum(model: nn.Module) -> str:
    """Of all weights."""
    found = xxhash.xxh3_64()
    for parameter in model.parameters():
        found.update(parameter.numpy())
    return found.hexdigest()


def exchange(ranks: Ranks, batches: range, numbers: Numbers, record: Record) -> list[Record]:
    """Makes of `numbers` (n,) the sum over the turn's batches; returns the records of all ranks.

    Raises:
        RankFailed: one has, and the sum is worth nothing.
        TrainingFault: the ranks have different weights.
    """
    order = [number % ranks.size for number in batches]
    said = [Record(**json.loads(one)) for one in ranks.add(numbers, json.dumps(asdict(record)).encode(), order)]
    for rank, one in enumerate(said):
        if one.failed and rank != ranks.rank:
            raise RankFailed(f"rank {rank} has failed ({one.failed})")
    odd = [rank for rank, one in enumerate(said) if one.weights != said[0].weights]
    if odd and not any(one.failed for one in said):
        raise TrainingFault(
            f"step {batches[0]}: the weights of rank {odd[0]} are not those of rank 0; resume from the last "
            "checkpoint; if it happens again, a machine or a library computes wrongly"
        )
    return said


def _no_numbers() -> Numbers:
    """(0,), where nothing is added up."""
    return np.zeros(0, np.float32)


def hear(ranks: Ranks, weights: Callable[[], str] = lambda: "") -> None:
    """Where ranks wait for each other without a sum; `weights` gives a checksum of those that all must have.

    Raises:
        RankFailed, TrainingFault: as `exchange`.
    """
    if ranks.size > 1:
        exchange(ranks, _NO_BATCH, _no_numbers(), Record(weights()))


@contextlib.contextmanager
def taking_part(
    ranks: Ranks, batches: range = _NO_BATCH, nothing: Callable[[], Numbers] = _no_numbers
) -> Iterator[None]:
    """For what a rank does before an `exchange`, or before they `hear` of each other: the others, who wait for it
    there, learn why it cannot go on. `nothing` is what it adds then."""
    try:
        yield
    except (DataServerLost, OutOfMemory) as error:
        _give_up(ranks, batches, nothing(), error)
        raise
    except (UserError, StreamFailed) as error:
        _give_up(ranks, batches, nothing(), error)
        ranks.meet()  # not before rank 0 has written a checkpoint
        raise


def _give_up(ranks: Ranks, batches: range, numbers: Numbers, error: Exception) -> None:
    with contextlib.suppress(RankFailed):
        exchange(ranks, batches, numbers, Record(failed=str(error)[:_MOST_TEXT]))


def share_weights(ranks: Ranks, model: nn.Module) -> None:
    """Gives all ranks the weights of rank 0."""
    for parameter in model.parameters():
        own = parameter.numpy()
        shared = ranks.share(own.tobytes())
        if shared != own.tobytes():
            parameter.update(jt.array(_as(own, shared)))
    jt.sync_all()


def _as(like: Numbers, data: bytes) -> Numbers:
    """The bytes as an array of the same kind."""
    found = like.copy()
    found.reshape(-1).view("uint8")[:] = memoryview(data)
    return found


def agree(ranks: Ranks, facts: dict[str, str]) -> None:
    """Compares what must be the same on all ranks with what rank 0 has.

    Raises:
        TrainingFault: it is not.
    """
    first = json.loads(ranks.share(json.dumps(facts).encode()))
    for what, value in facts.items():
        if value != first[what]:
            raise TrainingFault(
                f"{what} of this rank and of rank 0 are not the same: {value[:200]!r}, there {first[what][:200]!r}; "
                "give all hosts the same files, and install the same versions on them"
            )
