"""Makes a few samples of a data set by its own pipeline: whether it yields pictures that batches can carry."""

from __future__ import annotations

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from shared.errors import UserError

_SAMPLES = 3


def check(subject: Subject, found: Findings) -> str:
    """Runs the pipeline of a data set that could be built; has nothing to say where it does what it should.

    An image that it fails on is another check's to name.
    """
    part = subject.whole
    if part is None:
        return ""
    from data_server.datasets import pictures  # these bring torch in
    from data_server.datasets.randomness import seed_everything

    for index in range(min(_SAMPLES, len(part.dataset))):
        seed_everything(index, part.transforms)
        try:
            results = part.results(index)
        except Exception:
            continue
        try:
            pictures.as_carried(results["img"], results, part, part.in_hand)
        except UserError as error:
            found.error(str(error))
            break
    return ""
