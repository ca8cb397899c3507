"""The ranks of a training: processes that OpenMPI's ``mpirun -np N`` has started, and the one place that knows MPI.

    alone      nothing of MPI is loaded, and `size` is 1
    together   mpi4py carries bytes and float32 numbers between the ranks

What is added up is added in an order that the caller gives, number by number, so the sum has the same bits as one
process that adds the same numbers in this order, however many ranks there are::

    rank 0   a a a  b b b  c c c             a a a  a'a'a' a"a"a"  ─sum─► A A A             A A A  B B B  C C C
    rank 1   a'a'a' b'b'b' c'c'c'  ──────►   b b b  b'b'b' b"b"b"  ─sum─► B B B  ──────►    A A A  B B B  C C C
    rank 2   a"a"a" b"b"b" c"c"c"  Alltoall  c c c  c'c'c' c"c"c"  ─sum─► C C C  Allgather  A A A  B B B  C C C

That is what an all-reduce moves, too. Jittor's own MPI is not used: its all-reduce adds three ranks in any order, its
start writes past an array of its own (`hostHashs` in mpi_wrapper.cc), and its end waits for ever for a rank that has
failed.

Whoever waits for others sleeps: on one host they, and the data server, need the cores. A rank that ends with an exit
code other than 0 does so without MPI's farewell, and mpirun ends all others.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import UserError
from trainer.process import gpu

COMMAND = "mpirun -np N --bind-to none python -m trainer ..."
RECORD_BYTES = 8192  # of what a rank says beside its numbers
_SIZE, _RANK, _LOCAL_SIZE, _LOCAL_RANK = (
    f"OMPI_COMM_WORLD_{name}" for name in ("SIZE", "RANK", "LOCAL_SIZE", "LOCAL_RANK")
)
# How many processes others start, and the variable by which each of those is told apart.
_OTHERS = {
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "MPICH's or Intel's mpirun, or srun": ("PMI_SIZE", "PMI_RANK"),
    "torchrun": ("WORLD_SIZE", "RANK"),
}
_POLL_SECONDS = 0.0005
_PIECE_BYTES = 1 << 30

Numbers = npt.NDArray[np.float32]


class RankFailed(Exception):
    """Another rank cannot go on; the text says so in one line."""


class Ranks:
    """All ranks, seen from one of them; `join` makes one.

    Attributes:
        rank, size: this one's number, and how many there are.
        local_rank, local_size: the same, of those on this host.
    """

    rank, size, local_rank, local_size = 0, 1, 0, 1

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes for all."""
        return self.rank == 0

    def cores(self) -> set[int]:
        """The cores that this host's ranks may use together."""
        return os.sched_getaffinity(0)

    def share(self, data: bytes) -> bytes:
        """What rank 0 has as `data`, on all ranks."""
        return data

    def share_on_host(self, data: bytes) -> bytes:
        """What the first rank of this host has as `data`, on all of the host's."""
        return data

    def gather(self, data: bytes) -> list[bytes]:
        """On rank 0 the `data` of all ranks; on others nothing."""
        return [data]

    def meet(self) -> None:
        """Returns when all ranks have called it."""

    def add(self, numbers: Numbers, record: bytes, order: Sequence[int]) -> list[bytes]:
        """Makes of `numbers` (n,) the sum of those of the ranks in `order`, added in this order; returns the records of
        all ranks. The numbers of ranks that are not in `order` are not read."""
        del numbers, order
        return [record]

    def finish(self) -> None:
        """The farewell of a rank that ends well, as all have to."""


ALONE = Ranks()


class _Together(Ranks):
    """Over mpi4py."""

    def __init__(self, mpi: Any, local_rank: int, local_size: int) -> None:
        self._mpi = mpi
        self._all = mpi.COMM_WORLD
        self.rank, self.size = self._all.rank, self._all.size
        self.local_rank, self.local_size = local_rank, local_size
        self._host = self._all.Split_type(mpi.COMM_TYPE_SHARED, self.rank)

    def cores(self) -> set[int]:
        # mpirun may bind each rank to a core, and what it starts with it; the one that has started it is not bound.
        return os.sched_getaffinity(os.getppid())

    def share(self, data: bytes) -> bytes:
        return self._share(self._all, data)

    def share_on_host(self, data: bytes) -> bytes:
        return self._share(self._host, data)

    def gather(self, data: bytes) -> list[bytes]:
        lengths = np.zeros(self.size, np.int64)
        self._wait(self._all)
        self._all.Allgather([np.array([len(data)]), self._mpi.INT64_T], [lengths, self._mpi.INT64_T])
        if not self.first:
            for piece in _pieces(np.frombuffer(data, np.uint8)):
                self._all.Send([piece, self._mpi.BYTE], 0)
            return []
        found = [data]
        for rank, length in enumerate(lengths[1:], 1):
            received = np.empty(length, np.uint8)
            for piece in _pieces(received):
                self._all.Recv([piece, self._mpi.BYTE], rank)
            found.append(received.tobytes())
        return found

    def meet(self) -> None:
        self._wait(self._all)

    def add(self, numbers: Numbers, record: bytes, order: Sequence[int]) -> list[bytes]:
        cuts = [len(numbers) * rank // self.size for rank in range(self.size + 1)]
        lengths = [end - start for start, end in itertools.pairwise(cuts)]
        mine = lengths[self.rank]
        parts = np.empty((len(order), mine), np.float32)
        gives = self.rank in order
        self._wait(self._all)
        self._all.Alltoallv(
            [numbers, ([length * gives for length in lengths], cuts[:-1]), self._mpi.FLOAT],
            [
                parts,
                (
                    [mine * (rank in order) for rank in range(self.size)],
                    [order.index(rank) * mine if rank in order else 0 for rank in range(self.size)],
                ),
                self._mpi.FLOAT,
            ],
        )
        total = parts[0]
        for part in parts[1:]:
            total += part
        sent = np.concatenate([total.view(np.uint8), np.frombuffer(record.ljust(RECORD_BYTES, b"\0"), np.uint8)])
        sizes = [4 * length + RECORD_BYTES for length in lengths]
        received = np.empty(sum(sizes), np.uint8)
        self._all.Allgatherv([sent, self._mpi.BYTE], [received, sizes, self._mpi.BYTE])
        records, start = [], 0
        for rank, size in enumerate(sizes):
            end = start + size
            numbers[cuts[rank] : cuts[rank + 1]] = received[start : end - RECORD_BYTES].view(np.float32)
            records.append(received[end - RECORD_BYTES : end].tobytes().rstrip(b"\0"))
            start = end
        return records

    def finish(self) -> None:
        self._mpi.Finalize()

    def _share(self, among: Any, data: bytes) -> bytes:
        self._wait(among)
        length = np.array([len(data)], np.int64)
        among.Bcast([length, self._mpi.INT64_T], 0)
        shared = np.empty(int(length[0]), np.uint8)
        if among.rank == 0:
            shared[:] = np.frombuffer(data, np.uint8)
        for piece in _pieces(shared):
            among.Bcast([piece, self._mpi.BYTE], 0)
        return shared.tobytes()

    def _wait(self, among: Any) -> None:
        """Until all are here. MPI itself would wait with a busy loop."""
        arrived = among.Ibarrier()
        while not arrived.Test():
            time.sleep(_POLL_SECONDS)


def _pieces(data: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """Views of what MPI, which counts with 31 bits, cannot carry at once."""
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]


def number(environment: Mapping[str, str] = os.environ) -> int:
    """Of this rank, as mpirun says; 0 without it."""
    return int(environment.get(_RANK, 0))


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether mpirun has started this process, and passes on what it prints: OpenMPI 5 gives rank 0 a terminal of its
    own for that, wherever mpirun's output goes."""
    return _SIZE in environment


def expected(environment: Mapping[str, str] = os.environ) -> int:
    """How many ranks OpenMPI has started; 1 without it.

    Raises:
        UserError: another launcher has started several, which would be so many trainings of their own.
    """
    if _SIZE in environment:
        return int(environment[_SIZE])
    for launcher, (size, rank) in _OTHERS.items():
        if rank in environment and environment.get(size, "1").isdigit() and int(environment.get(size, "1")) > 1:
            raise UserError(
                f"{launcher} has started {environment[size]} processes ({size}={environment[size]}), and each would be "
                f"a training of its own; ranks are started by OpenMPI: {COMMAND}"
                + (" inside of salloc or sbatch" if "srun" in launcher else "")
            )
    return 1


def join() -> Ranks:
    """This process among its ranks. Several on a host get a GPU each, where there are GPUs.

    Raises:
        UserError: they cannot work together; see `expected`.
    """
    size = expected()
    if size == 1:
        return ALONE
    local_rank, local_size = int(os.environ.get(_LOCAL_RANK, 0)), int(os.environ.get(_LOCAL_SIZE, 1))
    gpu.take(local_rank, local_size)
    try:
        import mpi4py

        mpi4py.rc.finalize = False  # at exit it would wait for ranks that have failed
        mpi4py.rc.thread_level = "funneled"
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"mpirun has started {size} ranks, and mpi4py cannot be loaded ({error}): pip install "
            "'unidetector-jittor[mpi]'"
        ) from None
    if MPI.COMM_WORLD.size != size:
        raise UserError(
            f"mpirun has started {size} ranks, and mpi4py sees {MPI.COMM_WORLD.size}: it has loaded "
            f"{MPI.Get_library_version().split(',')[0]}, which is not the OpenMPI of this mpirun; put that one's "
            "libmpi.so first in LD_LIBRARY_PATH"
        )
    return _Together(MPI, local_rank, local_size)
