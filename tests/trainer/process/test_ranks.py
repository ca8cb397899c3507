"""Ranks: who starts them, and what they do together."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from shared.errors import UserError
from tests.cluster import PATIENCE
from tests.trainer.process.adding_ranks import numbers_of
from tests.trainer.runs import ROOT, mpirun
from trainer.__main__ import parse, run
from trainer.process.ranks import ALONE, expected

RANKS = 3
END_SECONDS = 5.0


def run_ranks(what: str) -> subprocess.CompletedProcess[str]:
    command = [*mpirun(RANKS), sys.executable, "-m", "tests.trainer.process.adding_ranks", what]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60 * PATIENCE, check=False)


@pytest.fixture(scope="module")
def added() -> dict:
    done = run_ranks("add")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "order"), [("all", [1, 2, 0]), ("some", [2, 0])])
def test_numbers_are_added_in_the_order_asked_for_bit_for_bit(added: dict, name: str, order: list[int]) -> None:
    total = numbers_of(order[0])
    for rank in order[1:]:
        total += numbers_of(rank)
    backwards = numbers_of(order[-1])
    for rank in order[-2::-1]:
        backwards += numbers_of(rank)
    assert added[name]["numbers"] == total.tobytes().hex()
    assert len(order) == 2 or total.tobytes() != backwards.tobytes()


def test_every_rank_hears_what_every_other_says(added: dict) -> None:
    assert added["all"]["records"] == added["some"]["records"] == [f"record of {rank}" for rank in range(RANKS)]


def test_all_ranks_have_what_the_first_shares(added: dict) -> None:
    assert (added["shared"], added["on_host"]) == ("of rank 0", "of local rank 0")


def test_the_first_rank_gathers_what_all_say_in_their_order_however_long(added: dict) -> None:
    assert added["gathered"] == [
        [f"from rank {rank}", len("from rank 0, ") * (1 + 1000 * rank)] for rank in range(RANKS)
    ]


def test_a_table_of_a_rank_is_plain_where_mpiruns_output_is_no_terminal(added: dict) -> None:
    assert added["table"].splitlines() == ["   AP", "-----", "0.500"]


@pytest.mark.parametrize(("what", "code", "words"), [("raise", 1, "RuntimeError: of the last rank"), ("kill", 137, "")])
def test_a_rank_that_fails_ends_all_others_who_wait_for_it(what: str, code: int, words: str) -> None:
    started = time.monotonic()
    done = run_ranks(what)
    assert time.monotonic() - started < END_SECONDS * PATIENCE
    assert done.returncode == code and words in done.stderr


def test_alone_a_sum_is_what_is_there() -> None:
    numbers = np.ones(3, np.float32)
    assert ALONE.add(numbers, b"mine", [0]) == [b"mine"] and numbers.tolist() == [1, 1, 1]
    assert ALONE.share(b"x") == b"x" and (ALONE.rank, ALONE.size, ALONE.first) == (0, 1, True)


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"}, "srun has started 4 processes"),
        ({"PMI_SIZE": "2", "PMI_RANK": "0"}, "MPICH's or Intel's mpirun, or srun has started 2 processes"),
        ({"WORLD_SIZE": "8", "RANK": "3"}, "torchrun has started 8 processes"),
    ],
)
def test_processes_of_another_launcher_are_refused_with_the_right_command(environment, launcher) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(launcher)}.*training of its own; .* mpirun -np N"):
        expected(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"},  # a batch script before its srun
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"PMI_SIZE": "1", "PMI_RANK": "0"},
    ],
)
def test_one_process_is_one_rank_whoever_has_started_it(environment) -> None:
    assert expected(environment) == 1


def test_under_openmpi_other_launchers_variables_say_nothing() -> None:
    assert expected({"OMPI_COMM_WORLD_SIZE": "2", "SLURM_STEP_NUM_TASKS": "1", "PMI_SIZE": "4", "PMI_RANK": "1"}) == 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["evaluate", "--config", "configs/demo/cln.py"], "evaluate"),
        (["--recipe", "configs/demo/open_world.py"], "a recipe"),
    ],
)
def test_what_one_process_does_is_refused_to_several(words, what, monkeypatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(UserError, match=f"^{what} is done by one process"):
        run(parse(words))


def test_without_mpi4py_several_ranks_are_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(
        UserError, match=r"2 ranks, and mpi4py cannot be loaded .*pip install 'unidetector-jittor\[mpi\]'"
    ):
        run(parse(["train", "--config", "configs/demo/cln.py"]))
