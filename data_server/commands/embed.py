"""Makes text embeddings of class names with CLIP, as UniDetector does: what a config's ``zeroshot_path`` names.

    name ── without ',' , '+' as a space ── 81 prompts ── CLIP's text tower ── mean ── one row

The mean is of the raw features: nothing is normalised, neither before (so longer features weigh more) nor after (the
detector's head does it). Rows stand in the order of the names, or of the file's list of categories, which is that of
the labels (`shared.coco`); there is none for the background. The rows are float32; UniDetector ships float16, as CLIP
computes on a GPU. The names go into a file beside them (`shared.embeddings`).

CLIP itself is open_clip's, on the CPU, with weights from a file: nothing is downloaded. Or the rows are those that
other files have for the same names: no CLIP is needed where all are among the names that UniDetector published.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from shared import coco
from shared.channel import Channel, ChannelClosed
from shared.command_line import add_renamed
from shared.embeddings import compared, names_file, read_embeddings, read_names, write_embeddings
from shared.errors import UserError, described
from shared.files import ANOTHER_OUT, expect, reported
from shared.keys import nearest
from shared.messages import Embed, Embedded, Failure
from shared.terminal import show

if TYPE_CHECKING:
    import torch

# UniDetector's scripts/dump_clip_features_manyprompt.py; the article "a" is meant literally.
_QUALITIES = (
    "bad",
    "low resolution",
    "cropped",
    "bright",
    "dark",
    "close-up",
    "black and white",
    "pixelated",
    "jpeg corrupted",
    "blurry",
    "good",
)
_KINDS = ("hard to see", "clean", "dirty", "cool", "large", "nice", "weird", "small")
_WORKS = (
    "a sculpture",
    "a rendering",
    "graffiti",
    "a tattoo",
    "a drawing",
    "a painting",
    "a doodle",
    "a sketch",
    "a rendition",
    "art",
)
_STUFFS = ("embroidered", "plastic", "origami", "toy", "plushie", "cartoon")
_ARTICLES = ("a", "the")
PROMPTS = (
    "{}.",
    *(f"a photo of {word} {{}}." for word in ("a", "the", "many", "one", "my")),
    *(f"a {quality} photo of {article} {{}}." for quality in _QUALITIES for article in _ARTICLES),
    *(f"a photo of {article} {kind} {{}}." for kind in _KINDS for article in _ARTICLES),
    *(f"{work} of {article} {{}}." for work in _WORKS for article in _ARTICLES),
    *(f"{article} {stuff} {{}}." for stuff in _STUFFS for article in _ARTICLES),
    *(f"{article} {{}} in a video game." for article in _ARTICLES),
    *(f"itap of {word} {{}}." for word in ("a", "the", "my")),
)


def prompts(name: str) -> list[str]:
    """The 81 sentences about a class name; underscores, slashes and parentheses stay."""
    cleaned = name.replace(",", "").replace("+", " ")
    return [prompt.replace("{}", cleaned) for prompt in PROMPTS]


def names_of(source: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        UserError: the file cannot be read, has no names, or has one twice.
    """
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"names {source}: {described(error)}; expected a text file with one class name a line"
        ) from None
    names = [line for line in lines if line]
    if not names:
        raise UserError(f"names {source}: no class names in it; expected one a line")
    twice = next((name for row, name in enumerate(names) if name in names[:row]), None)
    if twice is not None:
        raise UserError(f"names {source}: {twice!r} is listed twice; two classes of one name cannot be distinguished")
    return names


def categories_of(source: Path) -> list[str]:
    """The names of an annotation file's categories, in its order, which is that of the labels.

    Raises:
        UserError: the file cannot be read or has no categories.
    """
    categories = coco.categories(source)
    if not categories:
        raise UserError(f"annotation file {source}: its list 'categories' is empty")
    return list(categories.values())


def embed(names: list[str], weights: Path) -> np.ndarray:
    """One row per name, float32 (C, D), with the text tower of the CLIP in `weights` (RN50: D = 1024).

    Raises:
        UserError: open_clip is not installed, or `weights` holds no CLIP.
    """
    from tqdm import tqdm

    row_of = text_tower(weights)
    return np.stack([row_of(name) for name in tqdm(names, unit="name", disable=not sys.stderr.isatty())])


def text_tower(weights: Path) -> Callable[[str], np.ndarray]:
    """What makes a name's row, float32 (D,).

    Raises:
        UserError: see `embed`.
    """
    if not os.path.isfile(weights):  # before the seconds that torch and open_clip take
        raise UserError(f"CLIP weights {weights}: no such file")
    open_clip = _open_clip()
    import torch

    model = _model(weights)
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)

    def row_of(name: str) -> np.ndarray:
        with torch.inference_mode():
            row: np.ndarray = model.encode_text(tokenizer(prompts(name))).mean(0).numpy()
        return row

    return row_of


def answer(channel: Channel, weights: Path) -> None:
    """Embeds the words that ``python -m trainer serve`` asks for, until it ends."""
    row_of: Callable[[str], np.ndarray] | None = None
    while True:
        try:
            names = channel.receive(Embed).names
            row_of = row_of or text_tower(weights)
            channel.send(Embedded(np.stack([row_of(name) for name in names]).astype("<f4").tobytes()))
        except UserError as error:
            channel.send(Failure(str(error), True))
        except ChannelClosed:
            return


def rows_of(names: list[str], sources: list[Path]) -> np.ndarray:
    """One row per name, float32 (C, D), from files of embeddings with names beside them; the first that has it counts.

    Names are compared without regard to case, as ``python -m trainer detect`` does.

    Raises:
        UserError: a file is missing, has no or too few names beside it or rows of another length than the first,
            or a name is in none.
    """
    found: dict[str, np.ndarray] = {}
    length = None
    for source in sources:
        rows, known = read_embeddings(source), read_names(source)
        if known is None or len(known) != len(rows):
            has = "no names" if known is None else f"{len(known)} names"
            raise UserError(
                f"--rows-of {source}: {has} for its {len(rows)} rows in {names_file(source)}; "
                "python -m data_server names writes them"
            )
        if length not in (None, rows.shape[1]):
            raise UserError(f"--rows-of {source}: rows of {rows.shape[1]} numbers, those of {sources[0]} have {length}")
        length = rows.shape[1]
        for name, row in zip(known, rows, strict=True):
            found.setdefault(compared(name), row)
    missing = [name for name in names if compared(name) not in found]
    if missing:
        shown = ", ".join(f"{name!r}{nearest(compared(name), list(found))}" for name in missing[:10])
        raise UserError(
            f"--rows-of {', '.join(map(str, sources))}: no row for {len(missing)} of {len(names)} names: {shown}; "
            "make theirs with --clip RN50.pt"
        )
    return np.stack([found[compared(name)] for name in names])


def _open_clip() -> ModuleType:
    """open_clip, which imports torchvision for its pictures' sake.

    A torchvision built for CUDA cannot load its compiled part beside a torch for the CPU, and stops where it describes
    that part's two operators to torch. No text needs them: they are declared here, and it continues without them.
    """
    import torch

    try:
        try:
            return importlib.import_module("open_clip")
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
            operators = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            module = importlib.import_module("open_clip")
            vars(module)["torchvision_operators"] = operators  # they live as long as this object
            return module
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"open_clip cannot be imported ({described(error)}); pip install 'unidetector-jittor[embed]'"
        ) from error


def _model(weights: Path) -> Any:
    """The CLIP whose sizes and weights are those of the file, in float32."""
    from open_clip.model import build_model_from_openai_state_dict

    try:
        state_dict = _state_dict(weights)
        model = build_model_from_openai_state_dict(state_dict, cast_dtype=None).float()
        model.load_state_dict(state_dict)  # again, as building rounds them to float16
        return model
    except UserError:
        raise
    except Exception as error:  # whatever a wrong file leads to in torch and open_clip
        raise UserError(
            f"CLIP weights {weights}: {described(error)}; expected OpenAI's archive (RN50.pt), or a state dict "
            "of such a model as torch.save writes it"
        ) from error


def _state_dict(weights: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        return torch.jit.load(weights, map_location="cpu").state_dict()  # OpenAI's
    except RuntimeError:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    content = content.get("state_dict", content)
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def main(argv: list[str]) -> None:
    """``python -m data_server embed (--names-file F | --annotations A) (--clip W | --rows-of E ...) --out F.npy``."""
    parser = argparse.ArgumentParser(
        prog="python -m data_server embed", description="Make text embeddings of class names with CLIP."
    )
    which = parser.add_mutually_exclusive_group(required="--answers" not in argv)
    from_text = which.add_argument("--names-file", type=Path, metavar="F.txt", help="one class name a line")
    add_renamed(which, "--names", from_text)
    which.add_argument("--annotations", type=Path, metavar="A.json", help="a COCO annotation file: its categories")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--clip", type=Path, metavar="WEIGHTS", help="CLIP's weights, e.g. RN50.pt")
    how.add_argument(
        "--rows-of",
        type=Path,
        nargs="+",
        metavar="E.npy",
        help="text embeddings with their names beside them, in E.names.json: takes the rows of the same names",
    )
    parser.add_argument("--out", type=Path, required="--answers" not in argv, metavar="F.npy", help="where the rows go")
    # The socket of the trainer that started this, and asks in place of --names-file.
    parser.add_argument("--answers", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.answers is not None:
        answer(Channel(socket.socket(fileno=options.answers)), options.clip)
        return
    if options.out.suffix != ".npy":
        raise UserError(f"--out {options.out}: expected a name that ends in .npy")
    expect(options.out, ANOTHER_OUT)
    names = names_of(options.names_file) if options.names_file else categories_of(options.annotations)
    rows = embed(names, options.clip) if options.clip else rows_of(names, options.rows_of)
    with reported(options.out, ANOTHER_OUT):
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_embeddings(options.out, rows, names)
    show(f"{options.out}: {rows.shape[0]} names, {rows.shape[1]} numbers each")
