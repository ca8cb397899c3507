"""Whether MMDetection can build a data set: whole, and as it is trained on, with its filters and proposals."""

from __future__ import annotations

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from shared.datasets import whole


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
    elif subject.dataset.get("proposal_file"):
        subject.built(subject.dataset, found)
    return "; ".join(said)
