"""A small recipe at whose page somebody looks all the time: what is seen there, and that it changes no number."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from data_server.demo import scenes
from tests.trainer.recipe.starts import CONFIGS, Start
from tests.trainer.runs import DEADLINE
from trainer.weights import checkpoint

RECIPE = f"""
options = {{
    'train_dataloader.batch_size': 4,
    'default_hooks.logger.interval': 1,
    'val_evaluator': None,
    'test_evaluator': None,
    'train_cfg.max_epochs': 2,
}}
steps = [
    dict(name='stage_1', task='train', config='{CONFIGS}/cln.py'),
    dict(name='proposals', task='propose', config='{CONFIGS}/cln.py', weights='stage_1'),
]
"""


class Page:
    """The page of a recipe that runs, asked as a browser asks that has everything open."""

    def __init__(self, start: Start) -> None:
        start.until(lambda: "the run is shown at" in start.text, "page")
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", start.text)
        self._connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=DEADLINE)
        self.logs: dict[str, str] = {}
        self.batches: list[dict[str, Any]] = []

    def look(self) -> bool:
        """Returns whether there has been all that is to be seen: logs of both steps, a batch."""
        for run in self._ask("GET", "/runs")["runs"]:
            self.logs[run] = self._ask("GET", "/log", run=run)["text"]
            if batch := self._ask("POST", "/batch", run=run, seen=self.batches[-1]["step"] if self.batches else 0):
                self.batches.append(batch)
        return "proposals" in self.logs and bool(self.batches)

    def _ask(self, method: str, path: str, **query: object) -> Any:
        self._connection.request(method, f"{path}?{urlencode(query)}")
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content)


def outcome(start: Start) -> dict[str, Any]:
    """What the steps have come to, bit for bit, and the numbers on the way."""
    folder = start.work_dir / "stage_1"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = checkpoint.load(folder / "epoch_2.safetensors")
    proposals = sorted((start.work_dir / "proposals" / "proposals").iterdir())
    steps = json.loads((start.work_dir / "state.json").read_text())["steps"]
    return {
        "results": {name: sorted(step["results"]) for name, step in steps.items()},
        "numbers": [{key: line[key] for key in line if "loss" in key or key in ("step", "lr")} for line in lines],
        "weights": plain(weights.model),
        "proposals": {path.name: plain(load_file(path)) for path in proposals if path.suffix == ".safetensors"},
    }


def plain(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


def begin(folder: Path, data: Path, *arguments: str) -> Start:
    folder.mkdir()
    return Start(folder, data, RECIPE, *arguments)


@pytest.mark.long
def test_who_looks_sees_logs_and_batches_and_changes_no_number(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    scenes.generate(data, seed=1, train_images=8, val_images=2)
    looked_at = begin(tmp_path / "looked_at", data, "--serve", "0")
    page = Page(looked_at)
    looked_at.until(page.look, "log of each step and a batch")
    assert looked_at.end() == 0, looked_at.text
    alone = begin(tmp_path / "alone", data)
    assert alone.end() == 0, alone.text
    assert not (alone.work_dir / "stage_1" / "batch.json").exists()
    assert outcome(looked_at) == outcome(alone)

    assert re.search(r"epoch 2/2  step (\d+)/\1  loss", page.logs["stage_1"]) and "] Jittor " in page.logs["stage_1"]
    for name in ("stage_1", "proposals"):
        kept = (alone.work_dir / name / "log.txt").read_text().splitlines()
        assert kept and set(kept) <= set(alone.text.splitlines())

    batch = page.batches[-1]
    assert batch["step"] >= 1 and len(batch["images"]) == 4
    assert sum(len(one["boxes"]) for one in batch["images"]) > 0
    for one in batch["images"]:
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["jpeg"]))))
        assert picture.shape == (one["height"], one["width"], 3) and picture.std() > 10
        for box in one["boxes"]:
            x, y, width, height = box["bbox"]
            assert box["name"] == ""  # stage 1 tells no classes apart
            assert min(x, y) >= 0 and x + width <= one["width"] + 1 and y + height <= one["height"] + 1
