"""``docs/guide.md``, every command of it as it stands, in its order, on a few made-up pictures with small settings.

Commands are the ``sh`` blocks; one behind a comment ``<!-- needs ... -->`` needs what no test has, and is left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.embeddings import write_names
from tests.photos import annotations_of, draw
from tests.trainer.runs import DEADLINE, ROOT

GUIDE = (ROOT / "docs" / "guide.md").read_text()
BLOCK = re.compile(r"(<!-- needs [^\n]*-->\n)?^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = ["cup", "lamp", "shoe", "dog", "traffic light"]
# What makes it quick: one epoch, small pictures, three classes.
SMALLER = {
    "data.py": {"classes = 6": "classes = 3", "min_size=32": "min_size=1"},
    "stage_1.py": {"(448, 336)": "(128, 96)", "max_epochs=8": "max_epochs=1", "end=8": "end=1"},
    "stage_2.py": {
        "(448, 336)": "(128, 96)",
        "max_epochs=8": "max_epochs=1",
        "begin=0, end=8, milestones": "begin=0, end=1, milestones",
        "epoch_8": "epoch_1",
    },
    "recipe.py": {"epoch_8": "epoch_1"},
}


def commands() -> list[str]:
    """One for each line of the blocks that are run, lines that end in a backslash joined with the next."""
    blocks = [block for needs, block in BLOCK.findall(GUIDE) if not needs]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.replace("epoch_8", "epoch_1") for line in lines]


STEPS = [command for command in commands() if "--recipe" not in command and "activate" not in command]
(RECIPE,) = (command for command in commands() if "--recipe" in command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with data of one's own."""
    here = tmp_path_factory.mktemp("guide")
    for name in ("trainer", "data_server", "shared"):
        (here / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "configs", here / "configs")
    for file, changes in SMALLER.items():
        path = here / "configs" / "own" / file
        text = path.read_text()
        for ours, theirs in changes.items():
            assert ours in text, (file, ours)
            text = text.replace(ours, theirs)
        path.write_text(text)
    mine = draw(here / "data" / "mine")
    content = annotations_of(mine)
    for split in ("train", "val"):
        (mine / f"{split}.json").write_text(json.dumps(content))
    embeddings = here / "data" / "clip_embeddings" / "coco_clip_a+cname_rn50_manyprompt.npy"
    embeddings.parent.mkdir()
    np.save(embeddings, np.random.default_rng(0).standard_normal((len(NAMES), 64)).astype(np.float32))
    write_names(embeddings, NAMES)
    return here


def run(command: str, folder: Path) -> str:
    """A command in a shell, with this Python first on the path; what it said."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def walked(folder: Path) -> Path:
    """The folder after all steps of the guide, each of which has ended well."""
    for command in STEPS:
        run(command, folder)
    return folder


@pytest.mark.slow
def test_every_step_leaves_what_the_guide_says(walked: Path) -> None:
    own = walked / "work_dirs" / "own"
    assert (own / "stage_1" / "contact_sheet.png").exists() and list(
        (own / "stage_1" / "proposals").glob("*.safetensors")
    )
    results = json.loads((own / "stage_2" / "results.json").read_text())["results"]
    assert len(results) == 3, results  # as it is, calibrated, of shuffled names
    assert (own / "stage_2" / "detections.json").exists() and len(list((own / "stage_2" / "drawn").glob("*.jpg"))) > 1
    assert len(list((own / "stage_2" / "drawn" / "val").iterdir())) > 1


@pytest.mark.slow
def test_other_names_are_detected_without_training(walked: Path) -> None:
    found = json.loads((walked / "work_dirs" / "others.json").read_text())
    assert [one["name"] for one in found["categories"]] == ["dog", "traffic light"]


@pytest.mark.long
def test_the_recipe_does_the_steps_in_one(walked: Path) -> None:
    assert "my detector, calibrated" in run(RECIPE, walked)
    assert (walked / "work_dirs" / "recipe" / "report.html").exists()


def test_the_lines_of_data_py_that_the_guide_shows_stand_in_it() -> None:
    shown, *_ = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    data = " ".join((ROOT / "configs" / "own" / "data.py").read_text().split()).replace("( ", "(")
    for line in shown.splitlines():
        assert line.split("#")[0].removesuffix(" ...)").strip() in data, line
