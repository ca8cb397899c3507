"""What a resumed run compares with its checkpoint before it goes on."""

from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.models.ops.random_keys import ORIGIN
from trainer.process.ranks import Ranks
from trainer.training.resuming import compare_code, compare_samples, compare_update, own_record
from trainer.weights.checkpoint import Checkpoint


def written_by(ranks: int, batches: int, **meta: object) -> Checkpoint:
    meta = {"ranks": ranks, "batches_per_update": batches, **meta}
    return Checkpoint(Path("step_6.safetensors"), {}, {}, {}, {}, {"epoch": 0, "step": 6}, meta)


def of(size: int) -> Ranks:
    ranks = Ranks()
    ranks.size = size
    return ranks


def test_other_ranks_with_the_same_updates_and_rates_go_on() -> None:
    compare_update(written_by(2, 4, rate_factor=0.25), of(4), counts=1, rate_factor=0.25)
    compare_update(written_by(2, 4, rate_factor=0.25), of(1), counts=4, rate_factor=0.25)


def test_other_ranks_with_other_updates_are_refused() -> None:
    with pytest.raises(UserError, match="2 ranks wrote it, with 4 batches in an update; 1 with accumulative_counts=1"):
        compare_update(written_by(2, 4, rate_factor=1.0), of(1), counts=1, rate_factor=1.0)


def test_other_ranks_that_auto_scale_lr_would_give_another_rate_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        compare_update(written_by(2, 2, rate_factor=0.25), of(1), counts=2, rate_factor=0.125)
    assert str(caught.value) == (
        "checkpoint step_6.safetensors: 2 ranks wrote it, and auto_scale_lr multiplied lr by 0.25; with 1 it would be "
        "0.125: resume with mpirun -np 2, or with an auto_scale_lr.base_batch_size that makes ranks x batch_size / "
        "base_batch_size 0.25 again"
    )


def test_the_same_ranks_may_change_updates_and_rates() -> None:
    compare_update(written_by(2, 2, rate_factor=0.25), of(2), counts=2, rate_factor=1.0)


def test_a_checkpoint_that_does_not_say_its_rates_goes_on() -> None:
    compare_update(written_by(2, 2), of(1), counts=2, rate_factor=0.125)


def test_the_place_in_the_stream_is_compared_where_it_was_this_ranks_and_the_data_where_it_was_not() -> None:
    record = {"digest": "d", "fingerprint": "f", "step": 6}
    written = written_by(2, 1, stream=record)
    assert own_record(written, of(2)) == record
    assert own_record(written, of(1)) == {"digest": "d", "fingerprint": "f"}
    other = of(2)
    other.rank = 1
    assert own_record(written, other) is own_record(written_by(2, 1), of(2)) is None


def test_a_checkpoint_of_other_random_numbers_is_named() -> None:
    said: list[str] = []
    compare_samples(written_by(1, 1, keys=ORIGIN), said.append)
    assert not said
    compare_samples(written_by(1, 1), said.append)
    assert said == [
        "warning: step_6.safetensors is an older version's, which chose the boxes to train on by other random numbers: "
        "what follows is not what that version would have given"
    ]


def test_modules_of_ones_own_that_are_others_than_in_the_checkpoint_are_named() -> None:
    said: list[str] = []
    code = {"own": "a" * 32, "own.head": "b" * 32}
    for known in (written_by(1, 1), written_by(1, 1, code=dict(code))):
        compare_code(known, code, said.append)
    assert not said
    compare_code(written_by(1, 1, code={"own": "a" * 32, "own.neck": "c" * 32}), code, said.append)
    assert said == [
        "warning: own.head, own.neck: not as when step_6.safetensors was written, so what follows may not be what an "
        "undisturbed run would give"
    ]
