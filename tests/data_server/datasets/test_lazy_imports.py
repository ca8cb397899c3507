"""Lazy imports: who imports a module within gets something that is the module as soon as it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from data_server.datasets.lazy_imports import SELDOM_USED, lazily
from tests.cluster import ROOT

BIG = """
NUMBER = 7
class Thing:
    kind = "real"
    def __init__(self, size): self.size = size
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A package `big` with a module `part`, which nobody has imported, and a function that writes one that uses it."""
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "__init__.py").write_text("")
    (tmp_path / "big" / "part.py").write_text(BIG)
    monkeypatch.syspath_prepend(tmp_path)

    def module(text: str):
        (tmp_path / "user.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module("user")

    yield module
    for name in ("big", "big.part", "user"):
        sys.modules.pop(name, None)


def used(name: str) -> bool:
    return name in sys.modules


@pytest.mark.parametrize(
    ("imports", "made", "kind"),
    [
        ("from big.part import Thing", "Thing(3).size", "Thing.kind"),
        ("import big.part as it", "it.Thing(3).size", "it.Thing.kind"),
        ("import big.part", "big.part.Thing(3).size", "big.part.Thing.kind"),
        ("from big import part", "part.Thing(3).size", "part.Thing.kind"),
    ],
)
def test_what_is_imported_within_is_the_real_thing_when_it_is_used(written, imports, made, kind):
    with lazily("big", "big.part"):
        user = written(f"{imports}\ndef make(): return {made}\ndef kind(): return {kind}")
        assert used("big.part")
    assert not used("big") and not used("big.part")
    assert (user.make(), user.kind()) == (3, "real") and used("big.part")


def test_instances_of_what_stands_in_are_the_real_ones(written):
    with lazily("big", "big.part"):
        user = written("from big.part import Thing\ndef is_one(value): return isinstance(value, Thing)")
    from big.part import Thing

    assert user.is_one(Thing(1)) and not user.is_one(1)


def test_what_is_derived_from_a_stand_in_has_its_other_bases(written):
    with lazily("big", "big.part"):
        user = written(
            "from big.part import Thing\n"
            "class Derived(Thing, dict):\n"
            "    def __init__(self): super().__init__(a=1)\n"
            "def f(x: Thing | None = None): return x\n"
        )
    assert user.Derived.__mro__[1:] == (dict, object) and user.Derived() == {"a": 1} and user.f() is None
    assert not isinstance(3, user.Derived) and not used("big.part")


def test_what_is_used_within_is_the_real_thing_at_once(written):
    with lazily("big", "big.part"):
        user = written("from big.part import Thing\nmade = Thing(4)")
        assert user.made.size == 4 and type(user.made).__module__ == "big.part"
        from big.part import NUMBER

        assert NUMBER == 7


def test_a_module_that_is_imported_stays_and_one_that_is_not_installed_is_missing(written):
    from big import part

    with lazily("big", "big.part", "not_installed_anywhere", "not_installed_anywhere.part"):
        user = written("from big.part import Thing")
        assert user.Thing is part.Thing
        with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
            importlib.import_module("not_installed_anywhere.part")
    assert sys.modules["big.part"] is part


def test_an_error_within_leaves_nothing(written):
    with pytest.raises(ZeroDivisionError), lazily("big", "big.part"):
        written("1 / 0")
    assert not used("big.part")


CHECK = """
import sys
from data_server.datasets.lazy_imports import SELDOM_USED, import_mmdetection
import_mmdetection()
left = [name for name in SELDOM_USED if name in sys.modules]
assert not left, left

import numpy as np
from mmdet.datasets.transforms import transforms
from mmdet.datasets.transforms.generate_line import ImageAug
from mmdet.evaluation.metrics.crowdhuman_metric import csr_matrix, maximum_bipartite_matching
from mmengine.model import is_model_wrapper

image = np.random.default_rng(1).integers(0, 255, (64, 48, 3), np.uint8)
made = transforms.corrupt(image, corruption_name="gaussian_blur", severity=2)
assert not is_model_wrapper(object())
assert maximum_bipartite_matching(csr_matrix(np.eye(2)), perm_type="column").tolist() == [0, 1]
size = {"name": "Resize", "p": 1.0, "parameters": {"size": {"width": 24, "height": 32}}}
assert type(ImageAug([size]).pipeline).__module__ == "imgaug.augmenters.meta"

from imagecorruptions import corrupt
assert np.array_equal(made, corrupt(image, corruption_name="gaussian_blur", severity=2))
"""


@pytest.mark.slow
def test_mmdetection_is_imported_without_what_is_seldom_used_and_what_needs_that_works():
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(set(SELDOM_USED)) == len(SELDOM_USED)
