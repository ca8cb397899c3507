"""Lazy imports: of what MMDetection imports at its start and hardly any pipeline uses, half of that start's time.

    with lazily("imgaug", …):            sys.modules["imgaug"] is a stand-in
        import mmdet.datasets            import imgaug.augmenters as iaa      iaa: a module that stands in
                                         from imgaug.… import LineString      LineString: a class that stands in
    …                                    sys.modules is as if nobody had asked for imgaug
    iaa.Sometimes(…), LineString(…)      imports imgaug, and is what it would have been

What needs the real one is a call, an attribute, or isinstance(). Annotations do not, and a class that is derived from
one that stands in only has its other bases, as mmengine's have where torch lacks what they are derived from.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# What needs them: transforms of lanes, corruptions, metrics of lanes and of CrowdHuman, drawing, models on many GPUs.
# A package comes before what is in it.
SELDOM_USED = (
    *("imgaug", "imgaug.augmentables", "imgaug.augmentables.lines", "imgaug.augmentables.segmaps", "imgaug.augmenters"),
    *("imagecorruptions", "skimage"),
    *("scipy.interpolate", "scipy.optimize", "scipy.sparse", "scipy.sparse.csgraph"),
    *("matplotlib", "matplotlib.colors", "matplotlib.patches", "matplotlib.pyplot"),
    *("torch.distributed.fsdp.api", "torch.distributed.fsdp.fully_sharded_data_parallel", "torch.distributed.optim"),
)


def import_mmdetection() -> None:
    """Its data sets, transforms and metrics, before a module of ours does that as a whole. What it prints and warns of
    meanwhile is dropped."""
    with lazily(*SELDOM_USED), contextlib.redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmdet.datasets
        import mmdet.evaluation  # noqa: F401 - importing is what this is for


class _LazyModule(ModuleType):
    """In the place of a module that is not imported yet, for whoever imports it or from it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks for
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            return _LazyClass(name, (), {"__module__": self.__name__})
        return getattr(importlib.import_module(self.__name__), name)


class _LazyClass(type):
    """In the place of anything that was imported from such a module."""

    def __new__(cls, name: str, bases: tuple[type, ...], content: dict[str, Any]) -> type:
        if bases:
            return type(name, tuple(base for base in bases if not isinstance(base, _LazyClass)), content)
        return super().__new__(cls, name, bases, content)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._real()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._real(), name)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls._real())

    def _real(cls) -> Any:
        if isinstance(sys.modules.get(cls.__module__), _LazyModule):
            _forget()  # who needs one while others are being imported has the real ones from now on
        return getattr(importlib.import_module(cls.__module__), cls.__name__)


@contextlib.contextmanager
def lazily(*names: str) -> Iterator[None]:
    """Within, who imports one of the modules `names`, or from it, gets a stand-in that imports it when it is used.

    A module that is not installed is missing, as it would be, and one that is imported already stays what it is.

    Args:
        names: with dots; a package, where it is one of them, before what is in it.
    """
    roots = {name.partition(".")[0] for name in names}
    installed = {root for root in roots if importlib.util.find_spec(root)}
    for name in names:
        package, _, last = name.rpartition(".")
        if name not in sys.modules and name.partition(".")[0] in installed:
            sys.modules[name] = _LazyModule(name)
            if isinstance(holder := sys.modules.get(package), _LazyModule):
                setattr(holder, last, sys.modules[name])
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    for name, module in list(sys.modules.items()):
        if isinstance(module, _LazyModule):
            del sys.modules[name]
