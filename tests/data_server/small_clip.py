"""A small CLIP with random weights, and what its text tower says: ``python -m tests.data_server.small_clip FOLDER``.

clip.pth       its state dict
archive.pt     the same as a TorchScript archive, as OpenAI publishes CLIP, in half precision
expected.npz   for each name in prompts.json the mean of its prompts' features; ``half.NAME`` those of the archive

FOLDER/prompts.json is a dict: name to prompts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from data_server.commands.embed import _open_clip  # a torchvision that does not load would stop the plain import
from tests import torchscript

open_clip = _open_clip()


def features(model: torch.nn.Module, sentences: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Every sentence by itself, so that nothing depends on how they are put together."""
    tokenizer = open_clip.get_tokenizer("RN50")
    with torch.no_grad():
        return {
            name: np.mean([model.encode_text(tokenizer([one]))[0].numpy() for one in of_name], 0)
            for name, of_name in sentences.items()
        }


def main(folder: Path) -> None:
    torch.manual_seed(0)
    sentences = json.loads((folder / "prompts.json").read_text())
    model = open_clip.CLIP(
        embed_dim=24,
        vision_cfg={"layers": [1, 1, 1, 1], "width": 8, "image_size": 64, "patch_size": None},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
        quick_gelu=True,
    ).eval()
    state = model.state_dict()
    torch.save(state, folder / "clip.pth")
    expected = features(model, sentences)
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    numbers = {"input_resolution": 64, "context_length": 77, "vocab_size": 49408}
    torchscript.save(half | {name: torch.tensor(value) for name, value in numbers.items()}, folder / "archive.pt")
    model.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    expected |= {f"half.{name}": row for name, row in features(model, sentences).items()}
    np.savez(folder / "expected.npz", **expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
