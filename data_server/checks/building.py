"""Whether MMDetection can build a data set: whole, and as it is trained on, with its filters and proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from shared.datasets import whole
from shared.errors import UserError

if TYPE_CHECKING:
    from data_server.datasets.part import Part


def check(subject: Subject, found: Findings) -> str:
    """Builds the data set, and says how many images it has; leaves `Subject.whole`."""
    subject.whole = subject.built(whole(subject.dataset), found)
    if subject.whole is None:
        return "not readable" if subject.classes is None else ""
    said = []
    if subject.classes is None:
        said.append(f"{len(subject.whole.dataset):,} images; {len(subject.whole.classes):,} classes")
    if subject.training:
        trained_on = subject.built(subject.dataset, found)
        said.append(f"{len(trained_on.dataset):,} images to train on" if trained_on else "not ready to be trained on")
        if trained_on and (subject.alone or _is_for_boxes(subject)) and not _has_boxes(trained_on):
            found.error("no annotated box is left after filtering; there is nothing to train on")
    elif subject.dataset.get("proposal_file"):
        subject.built(subject.dataset, found)
    return "; ".join(said)


def _is_for_boxes(subject: Subject) -> bool:
    """Whether images without a box are left out: others may be there for what they do not show."""
    return bool((subject.dataset.get("filter_cfg") or {}).get("filter_empty_gt"))


def _has_boxes(part: Part) -> bool:
    try:
        return any(len(some.boxes) for some in part.all_annotated())
    except UserError:  # of a box that is none: it is there, and named by another check
        return True
