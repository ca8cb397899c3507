"""The names of weights: whose file it is, what its names are in our models, and what of it fits a model.

Our models have the parameter names of MMDetection and UniDetector, so their files need no table. This one holds for the
rest (`SOURCES`); a source is recognised by a prefix that only its names have::

    OpenAI CLIP, open_clip            RegionCLIP                     ours
    visual.layer4.*                   backbone.layer4.*              roi_head.shared_head.layer4.*
    visual.attnpool.*                 backbone.attnpool.*            roi_head.bbox_head.attnpool.*
    visual.ln_post.*, visual.proj     (ResNets alone)                (not used: after a ViT's last block)
    visual.*                          backbone.*                     backbone.*
    anything else                     anything else                  (not used: text encoder, teacher, RPN)

Swin Transformer's own names, and the order of some of its numbers, are `trainer.weights.swin_names`'.

What other programs wrap a model in stands before all names of a file, and is taken away (`WRAPPERS`): DataParallel's,
Lightning's, torch.compile's, several of them as well. Where nothing fits with that, `outer` finds the prefix with which
it would.

Three kinds of buffers are ignored on either side, neither missing nor unexpected: ``num_batches_tracked``, a counter of
batch norms that train, ``relative_position_index``, which follows from the size of Swin's windows, and ``zs_weights*``,
the text embeddings: those of the config's vocabulary hold, and a file's never replace them, not even when their shapes
agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from shared.errors import UserError
from trainer.weights import swin_names

WRAPPERS = ("module.", "model.", "_orig_mod.")
_COMPILED = "_orig_mod."  # before a compiled part's names as well, wherever that is
_SHARED_HEAD = "roi_head.shared_head.layer4."
_ATTENTION_POOL = "roi_head.bbox_head.attnpool."


class Source(NamedTuple):
    """A program whose names differ from ours; of `renames`, (its prefix, ours or None: not used), the first that fits
    counts."""

    title: str
    sign: str
    renames: tuple[tuple[str, str | None], ...]


VIT = "CLIP's ViT"
SOURCES = (
    Source(VIT, "visual.class_embedding", (("visual.ln_post.", None), ("visual.proj", None), ("visual.", "backbone."))),
    Source(
        "CLIP",
        "visual.",
        (("visual.layer4.", _SHARED_HEAD), ("visual.attnpool.", _ATTENTION_POOL), ("visual.", "backbone.")),
    ),
    Source(
        "RegionCLIP",
        "backbone.attnpool.",
        (("backbone.layer4.", _SHARED_HEAD), ("backbone.attnpool.", _ATTENTION_POOL), ("backbone.", "backbone.")),
    ),
)


class Fit(NamedTuple):
    """What of a file fits a model. Each entry of the three lists is a name with its shape or shapes."""

    weights: dict[str, np.ndarray]
    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    @property
    def report(self) -> str:
        """One line that says how much fits and lists all that does not."""
        lists = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.misshapen}
        parts = [f"{len(names)} {what}: {', '.join(names)}" for what, names in lists.items() if names]
        return "; ".join([f"{len(self.weights)} tensors fit", *parts])


def is_bookkeeping(name: str) -> bool:
    """Whether a tensor is one of the three kinds that files and models need not agree on."""
    last = name.rpartition(".")[2]
    return last in ("num_batches_tracked", "relative_position_index") or last.startswith("zs_weights")


def ours(arrays: dict[str, np.ndarray]) -> tuple[str, dict[str, np.ndarray]]:
    """Whose weights these are, and those that our models have, under our names.

    Returns:
        the title of the program that made them, or ``""`` where the names are ours already; and the weights.
    """
    arrays = unwrapped(arrays)
    if swin_names.are_these(arrays):
        return swin_names.TITLE, swin_names.ours(arrays)
    for source in SOURCES:
        if any(name.startswith(source.sign) for name in arrays):
            return source.title, {
                mapped: array
                for name, array in arrays.items()
                if (mapped := _renamed(name, source.renames)) is not None
            }
    return "", arrays


def unwrapped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights under names without `WRAPPERS`."""
    plain = {name.replace(_COMPILED, ""): array for name, array in arrays.items()}
    if len(plain) == len(arrays):
        arrays = plain
    while wrapper := next((one for one in WRAPPERS if arrays and all(name.startswith(one) for name in arrays)), None):
        arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
    return arrays


def outer(found: Iterable[str], expected: Iterable[str]) -> list[str]:
    """The prefixes, dots included, without which most of the names found are expected; several where they are equal."""
    wanted = set(expected)
    fitting: Counter[str] = Counter()
    for name in found:
        for end in (place + 1 for place, letter in enumerate(name) if letter == "."):
            fitting[name[:end]] += name[end:] in wanted
    most = max(fitting.values(), default=0)
    return [prefix for prefix, count in fitting.items() if most and count == most]


def _renamed(name: str, renames: Iterable[tuple[str, str | None]]) -> str | None:
    for theirs, our in renames:
        if name.startswith(theirs):
            return None if our is None else our + name.removeprefix(theirs)
    return None


def fit(arrays: dict[str, np.ndarray], parameters: Iterable[tuple[str, tuple[int, ...]]]) -> Fit:
    """Compares weights under our names with a model.

    Args:
        arrays: of any shape and dtype.
        parameters: (name, shape) of everything that the model keeps, buffers included.

    Returns:
        the weights that fit, floating point numbers as float32, and the lists of what does not.
    """
    expected = {name: tuple(shape) for name, shape in parameters if not is_bookkeeping(name)}
    found = {name: array for name, array in arrays.items() if not is_bookkeeping(name)}
    both = sorted(expected.keys() & found.keys())
    return Fit(
        {name: _as_float32(found[name]) for name in both if found[name].shape == expected[name]},
        [f"{name} {list(expected[name])}" for name in sorted(expected.keys() - found.keys())],
        [f"{name} {list(found[name].shape)}" for name in sorted(found.keys() - expected.keys())],
        [
            f"{name} {list(found[name].shape)}, expected {list(expected[name])}"
            for name in both
            if found[name].shape != expected[name]
        ],
    )


def check_finite(arrays: dict[str, np.ndarray], where: str) -> None:
    """Raises UserError where a tensor, the first one of `arrays`, has numbers that are NaN or infinite."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            wrong = int(np.count_nonzero(~np.isfinite(array)))
            raise UserError(
                f"{where}: tensor {name!r} has {wrong} numbers of {array.size} that are NaN or infinite; use a "
                "checkpoint from before the training diverged"
            )


def describe_mismatch(expected: dict[str, tuple[str, tuple[int, ...]]], arrays: dict[str, np.ndarray]) -> str:
    """All differences between `expected` (name -> dtype, shape) and `arrays`, in one line; empty without any."""
    found = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}

    def text(dtype: str, shape: tuple[int, ...]) -> str:
        return f"{dtype}[{', '.join(map(str, shape))}]"

    missing = [f"{name} {text(*expected[name])}" for name in sorted(expected.keys() - found.keys())]
    unexpected = [f"{name} {text(*found[name])}" for name in sorted(found.keys() - expected.keys())]
    different = [
        f"{name} is {text(*found[name])}, expected {text(*expected[name])}"
        for name in sorted(expected.keys() & found.keys())
        if found[name] != expected[name]
    ]
    parts = {"missing": missing, "unexpected": unexpected, "of another shape or dtype": different}
    return "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in parts.items() if names)


def _as_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # becomes infinite, which `check_finite` finds
        return np.ascontiguousarray(array, np.float32) if array.dtype.kind == "f" else np.ascontiguousarray(array)
