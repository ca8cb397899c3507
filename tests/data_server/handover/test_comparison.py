from dataclasses import replace

import numpy as np
import pytest

from data_server.handover.comparison import difference
from shared.messages import Proof

FILES = ["a.jpg", "b.jpg"]
HERE = Proof("f0", np.array([5, 7], "<u8").tobytes(), [1, 2], {"numpy": "1.26.4", "pillow": "12.0"})


def of(*contents: int) -> bytes:
    return np.array(contents, "<u8").tobytes()


def test_hosts_that_make_the_same_do_not_differ_whatever_their_versions():
    assert difference(HERE, replace(HERE, versions={"numpy": "1.26.0"}), FILES) == ""


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"fingerprint": "f1"}, "its annotations are others (fingerprint f1, here f0)"),
        ({"files": of(5, 8)}, "image 'b.jpg' has other contents there (1 of 2 files looked at differ)"),
        ({"files": of(0, 8)}, "image 'a.jpg' cannot be read there (2 of 2 files looked at differ)"),
        ({"files": b"", "batches": []}, "no batch to compare could be made there"),
        ({"batches": [1, 3], "versions": {"numpy": "1.26.4"}}, "(pillow None there, 12.0 here)"),
        ({"batches": [1, 3]}, "all versions are the same: its processor or its environment makes the difference"),
    ],
)
def test_what_differs_is_named(there, said):
    assert said in difference(HERE, replace(HERE, **there), FILES)


def test_nothing_is_compared_with_a_host_that_could_make_nothing():
    nothing = replace(HERE, files=b"", batches=[])
    assert difference(nothing, nothing, FILES) == "no batch to compare could be made here"
