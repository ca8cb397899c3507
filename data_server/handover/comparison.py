"""Two hosts compared by what they make: why one of them cannot make batches for the other."""

from __future__ import annotations

import numpy as np

from shared.messages import Proof


def difference(here: Proof, there: Proof, files: list[str]) -> str:
    """What is not there as it is here, as a clause; empty when all is. `files` are the paths that both looked at."""
    if there.fingerprint != here.fingerprint:
        return f"its annotations are others (fingerprint {there.fingerprint}, here {here.fingerprint})"
    if not here.batches:
        return "no batch to compare could be made here"
    if there.files != here.files:
        ours, theirs = np.frombuffer(here.files, "<u8"), np.frombuffer(there.files, "<u8")
        if len(theirs) != len(ours):
            return "no batch to compare could be made there"
        differing = np.flatnonzero(ours != theirs)
        missing = theirs[differing[0]] == 0
        what = "cannot be read there" if missing else "has other contents there"
        return f"image {files[differing[0]]!r} {what} ({len(differing)} of {len(ours)} files looked at differ)"
    if there.batches != here.batches:
        others = [
            f"{name} {there.versions.get(name)} there, {ours} here"
            for name, ours in here.versions.items()
            if there.versions.get(name) != ours
        ]
        cause = "; ".join(others) or "all versions are the same: its processor or its environment makes the difference"
        return f"the same samples make other bytes there ({cause})"
    return ""
