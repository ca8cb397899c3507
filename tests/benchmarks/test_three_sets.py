"""The benchmark of three data sets in one, with some hundred images of each and no training."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from benchmarks import three_sets
from shared.data_part import data_part


@pytest.mark.long
@pytest.mark.server
@pytest.mark.slow
def test_a_stream_of_all_three_starts_with_and_without_proposals(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(three_sets, "_AT_A_TIME", 100)
    three_sets.prepare(tmp_path, share=1e-4)
    three_sets.propose(tmp_path)
    found = three_sets.starts(tmp_path, 1, [("stage 1", 1), ("stage 2", 2)])
    assert all(figures["cpu"] > 0 and figures["memory"] > 100 for figures in found.values())
    (another,) = three_sets.second_rank(tmp_path, 1).values()
    assert another["slots"] > 0 and another["memory"] > 0 and another["index"] > 0


@pytest.mark.parametrize("stage", [1, 2])
def test_the_configs_of_both_trainings_are_the_demos_over_the_three_sets(tmp_path, stage):
    (tmp_path / "config.py").write_text(three_sets._config(tmp_path, stage, steps=7))
    config = Config.fromfile(tmp_path / "config.py")
    part = data_part(config, "train")
    assert [one["ann_file"] for one in part["dataset"]["datasets"]] == [
        str(tmp_path / f"{name}.json") for name in ("coco", "objects365", "openimages")
    ]
    assert config.train_cfg.max_iters == 7 and part["evaluators"] == []
