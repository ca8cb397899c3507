"""The code that a config brings along is found, to the last module, and nothing of a library is."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from trainer.process.user_code import digests

FILES = {
    "lab/__init__.py": "",
    "lab/swin.py": "from . import blocks\nfrom .parts.norm import Norm\nimport numpy, torch, mmdet, trainer\n",
    "lab/blocks.py": "import lab_tools\n",
    "lab/unused.py": "",
    "lab/parts/__init__.py": "",
    "lab/parts/norm.py": "class Norm: ...\n",
    "lab_loose/deep/heads.py": "from .. import losses\nfrom ... import lab_tools\nimport lab_loose.other as other\n",
    "lab_loose/losses.py": "from lab_transforms import *\n",
    "lab_tools.py": "raise SystemExit('this is run')\n",
    "lab_transforms.py": "import json\n",
    "lab_broken.py": "def f(:\n",
}
BACKBONE = {"model": {"backbone": {"type": "lab.swin.Swin"}, "neck": {"type": "FPN"}}}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, []),
        (
            {
                "type": "mmdet.CocoDataset",
                "optimizer": {"type": "torch.optim.SGD"},
                "hook": {"type": "json.JSONEncoder"},
            },
            [],
        ),
        (BACKBONE, ["lab", "lab.blocks", "lab.parts", "lab.parts.norm", "lab.swin", "lab_tools"]),
        ({"custom_imports": {"imports": ["lab_transforms"]}}, ["lab_transforms"]),
        ({"custom_imports": {"imports": "lab.parts"}}, ["lab", "lab.parts"]),
        (
            {"type": "lab_loose.deep.heads.Head"},
            ["lab_loose.deep.heads", "lab_loose.losses", "lab_transforms"],
        ),
        ({"custom_hooks": [{"type": "EMAHook"}, {"type": "lab_tools.Hook"}]}, ["lab_tools"]),
        (
            {"custom_imports": {"imports": ["no_such_module", "lab_broken", "", "."]}, "type": "lab.nothing.Here"},
            ["lab", "lab_broken"],
        ),
        ({"model": {"backbone": {"type": "trainer.models.backbones.resnet.ResNet"}}}, []),
    ],
)
def test_modules_that_a_config_names_are_found_with_what_they_import(config: Any, expected: list[str]) -> None:
    assert list(digests(config)) == expected
    assert not [name for name in sys.modules if name.startswith("lab")]


@pytest.mark.parametrize(
    ("file", "module"), [("lab/parts/norm.py", "lab.parts.norm"), ("lab/parts/__init__.py", "lab.parts")]
)
def test_an_edit_of_one_is_seen(modules: Path, file: str, module: str) -> None:
    before = digests(BACKBONE)
    (modules / file).write_text("class Norm: edited = True\n")
    after = digests(BACKBONE)
    assert [name for name in before if before[name] != after[name]] == [module]


def test_a_package_that_is_installed_to_be_edited_is_the_users_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path_factory.mktemp("far") / "lab_far"
    far.mkdir()
    (far / "__init__.py").write_text("")
    (far / "heads.py").write_text("import lab_tools\n")

    class Finder:  # as pip leaves one: it is asked by name, and no folder is in sys.path
        @staticmethod
        def find_spec(name: str, *_: Any) -> ModuleSpec | None:
            if name != "lab_far":
                return None
            return spec_from_file_location(name, far / "__init__.py", submodule_search_locations=[str(far)])

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert list(digests({"type": "lab_far.heads.Head"})) == ["lab_far", "lab_far.heads", "lab_tools"]
