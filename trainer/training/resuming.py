"""What a run compares with the checkpoint that it goes on from: whether it can give what an undisturbed one would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared.errors import UserError
from trainer.device import ARITHMETIC_LENGTH, arithmetic
from trainer.models.ops import random_keys
from trainer.process.ranks import Ranks
from trainer.training.accumulation import Share
from trainer.weights.checkpoint import Checkpoint


def compare_arithmetic(resumed: Checkpoint, say: Callable[[str], None]) -> None:
    """Says so where the run cannot go on bit for bit."""
    before, now = str(resumed.meta.get("arithmetic", ""))[:ARITHMETIC_LENGTH], arithmetic()
    if before and before != now:
        say(
            f"warning: {resumed.path} was trained on {before}, this is {now}: sums are rounded in another order, "
            "so what follows differs in the last digits from what an undisturbed run would give; to avoid that, "
            "resume with the same (OMP_NUM_THREADS sets the number of threads)"
        )


def compare_samples(resumed: Checkpoint, say: Callable[[str], None]) -> None:
    """Says so where from now on other boxes are trained on than by what wrote the checkpoint."""
    if resumed.meta.get("keys") != random_keys.ORIGIN:
        say(
            f"warning: {resumed.path} is an older version's, which chose the boxes to train on by other random "
            "numbers: what follows is not what that version would have given"
        )


def compare_code(resumed: Checkpoint, code: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Says which of the user's own modules are not those that wrote the checkpoint.

    Args:
        code: see `trainer.process.user_code.digests`.
    """
    before = resumed.meta.get("code", code)
    changed = sorted(name for name in before.keys() | code.keys() if before.get(name) != code.get(name))
    if changed:
        say(
            f"warning: {', '.join(changed)}: not as when {resumed.path} was written, so what follows may not be what "
            "an undisturbed run would give"
        )


def own_record(resumed: Checkpoint, ranks: Ranks) -> dict[str, Any] | None:
    """What this rank's feed may compare itself with: rank 0 wrote what it had, as one of so many ranks."""
    record = resumed.meta.get("stream")
    if record is None or not ranks.first:
        return None
    same = resumed.meta.get("ranks", 1) == ranks.size
    return record if same else {name: record[name] for name in ("digest", "fingerprint")}


def compare_update(resumed: Checkpoint, ranks: Ranks, counts: int, rate_factor: float) -> None:
    """`counts` is the run's accumulative_counts, `rate_factor` what its learning rates are multiplied by.

    Raises:
        UserError: another number of ranks makes updates of another number of batches, or with other rates.
    """
    before, batches = resumed.meta.get("ranks", 1), resumed.meta.get("batches_per_update")
    if before != ranks.size and batches != counts * ranks.size:
        raise UserError(
            f"checkpoint {resumed.path}: {before} ranks wrote it, with {batches} batches in an update; "
            f"{ranks.size} with accumulative_counts={counts} would have {counts * ranks.size}: resume with "
            f"mpirun -np {before}, or with an accumulative_counts that makes it {batches} again"
        )
    rated = resumed.meta.get("rate_factor", rate_factor)
    if before != ranks.size and rated != rate_factor:
        raise UserError(
            f"checkpoint {resumed.path}: {before} ranks wrote it, and auto_scale_lr multiplied lr by {rated:g}; with "
            f"{ranks.size} it would be {rate_factor:g}: resume with mpirun -np {before}, or with an "
            f"auto_scale_lr.base_batch_size that makes ranks x batch_size / base_batch_size {rated:g} again"
        )


def compare_waiting(
    resumed: Path | None,
    found: Share | None,
    expected: Share | None,
    batches_per_update: int,
    say: Callable[[str], None],
) -> None:
    """Compares the gradients that wait in the checkpoint with those that the next update needs.

    Raises:
        UserError: it has some that are of no use.
    """
    if found == expected:
        return
    if found is not None:
        raise UserError(
            f"checkpoint {resumed} has the gradients of {found.number} of {found.batches} batches of an "
            f"update; with {batches_per_update} (ranks x accumulative_counts) and this length there is "
            "none: resume with those of the run that wrote it, or from a checkpoint between two updates"
        )
    if expected is not None:
        say(
            f"the next update lacks {expected.number} of its {expected.batches} batches: {resumed} was written "
            "with another accumulative_counts or length, and has no gradients"
        )
