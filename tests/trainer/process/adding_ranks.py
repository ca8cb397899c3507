"""What several ranks do together, without a training: ``mpirun -np N python -m tests.trainer.process.adding_ranks``.

add    prints what rank 0 has after a sum, and a table, as JSON
raise  the last rank ends by an exception while the others wait for it
kill   the last rank is killed while the others wait for it
"""

import hashlib
import json
import os
import signal
import sys

import numpy as np

from trainer import __main__ as trainer
from trainer.process.ranks import Ranks, join
from trainer.reporting.table import table

LENGTH = 1001  # no multiple of a number of ranks


def numbers_of(rank: int) -> np.ndarray:
    """What a rank adds: of very different sizes, so that the order of a sum shows."""
    random = np.random.default_rng(rank)
    return (random.standard_normal(LENGTH) * 10.0 ** random.integers(-6, 6, LENGTH)).astype(np.float32)


def add(ranks: Ranks) -> None:
    seen = {"shared": ranks.share(b"of rank %d" % ranks.rank).decode()}
    seen["on_host"] = ranks.share_on_host(b"of local rank %d" % ranks.local_rank).decode()
    gathered = ranks.gather(b"from rank %d, " % ranks.rank * (1 + 1000 * ranks.rank))
    for name, order in {"all": [*range(1, ranks.size), 0], "some": [ranks.size - 1, 0]}.items():
        numbers = numbers_of(ranks.rank)
        records = ranks.add(numbers, b"record of %d" % ranks.rank, order)
        seen[name] = {"numbers": numbers.tobytes().hex(), "records": [record.decode() for record in records]}
    said = hashlib.sha256(json.dumps(seen).encode()).digest().hex().encode()
    assert ranks.first or gathered == []
    assert set(ranks.add(np.zeros(1, np.float32), said, [0])) == {said}, "the ranks have heard different things"
    if ranks.first:
        seen["gathered"] = [[one[: one.index(b",")].decode(), len(one)] for one in gathered]
        print(json.dumps(seen | {"table": table([("AP",), (0.5,)])}), flush=True)


def main() -> int:
    ranks = join()
    if sys.argv[1] == "add":
        add(ranks)
    elif ranks.rank < ranks.size - 1:
        ranks.meet()
    elif sys.argv[1] == "raise":
        raise RuntimeError("of the last rank")
    else:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.finish()
    return 0


if __name__ == "__main__":
    trainer.main = main
    trainer._program()
