"""Where a training run goes on from."""

from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config

from trainer.process.ranks import ALONE
from trainer.tasks.train import _resume_from


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        ({"load_from": "a.pth"}, {}, None),
        ({"load_from": "a.pth", "resume": False}, {"checkpoint": "b"}, None),
        ({"resume": True}, {}, "latest"),
        ({"resume": True, "load_from": "a"}, {}, "a"),
        ({"resume": True, "load_from": "a"}, {"checkpoint": "b"}, "b"),
        ({"resume": True, "load_from": "a"}, {"resume": True}, "latest"),
        ({"load_from": "a"}, {"resume": True}, "latest"),
        ({}, {"resume": True, "checkpoint": "b"}, "b"),
    ],
)
def test_resume_in_the_config_is_mmengines_and_the_option_goes_on_from_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict, options: dict, expected: str | None
) -> None:
    monkeypatch.setattr("trainer.weights.checkpoint.latest", lambda _: Path("latest"))
    given = Namespace(**{"resume": False, "checkpoint": None, **options})
    found = _resume_from(Namespace(options=given, config=Config(config), work_dir=tmp_path, say=print, ranks=ALONE))
    assert found == (None if expected is None else Path(expected))
