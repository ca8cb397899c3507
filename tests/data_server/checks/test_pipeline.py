"""A pipeline whose pictures no batch can carry is named; one that fails on an image is the image's matter."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_server.checks.findings import Findings
from data_server.checks.pipeline import check

DAY = np.full((4, 4, 3), 80, np.uint8)


class DataSet:
    """Nine images, all alike."""

    pipeline = (lambda _: {"img": DAY},)

    def __len__(self) -> int:
        return 9

    def get_data_info(self, _: int) -> dict:
        return {}


def found(yields: dict) -> list[str]:
    def results(index: int) -> dict:
        if index == 0:
            raise OSError("no such file")
        return yields

    dataset = DataSet()
    part = SimpleNamespace(dataset=dataset, transforms=[], results=results, in_hand=1)
    findings = Findings()
    assert check(SimpleNamespace(whole=part), findings) == ""
    return [str(finding) for finding in findings]


@pytest.mark.parametrize(
    ("yields", "says"),
    [
        ({"img": DAY, "img_norm_cfg": {}}, "the pipeline has a Normalize"),
        ({"img": DAY.astype(np.float32) / 255}, "the pipeline yields floats from"),
        ({"img": DAY[..., 0]}, "expected three channels"),
    ],
)
def test_pictures_that_cannot_be_carried_are_an_error_once(yields: dict, says: str) -> None:
    (line,) = found(yields)
    assert line.startswith("ERROR") and says in line


def test_bytes_and_floats_of_colours_are_fine() -> None:
    assert found({"img": DAY}) == found({"img": DAY.astype(np.float32)}) == []
