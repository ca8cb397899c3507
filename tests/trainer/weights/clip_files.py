"""CLIP's files with random weights: ``python -m tests.trainer.weights.clip_files FOLDER``, in a process of its own.

FOLDER/shapes.json names the image tower's tensors (``visual.*``) and their shapes. Made of them:

    clip.pt          a TorchScript archive in half precision, with a text tower, as OpenAI publishes CLIP
    regionclip.pth   RegionCLIP's: under ``model``, image tower called ``backbone``, with its other parts
    expected.npz     the image tower as float32 arrays, under the names of shapes.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from tests import torchscript

TEXT_TOWER = {
    "transformer.resblocks.0.attn.in_proj_weight": [12, 4],
    "token_embedding.weight": [20, 4],
    "positional_embedding": [7, 4],
    "ln_final.weight": [4],
    "text_projection": [4, 8],
    "logit_scale": [],
}
NUMBERS = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
OTHERS_OF_REGIONCLIP = ["lang_encoder.positional_embedding", "teacher_backbone.conv1.weight", "roi_heads.fc.weight"]


def main(folder: Path) -> None:
    torch.manual_seed(0)
    shapes = json.loads((folder / "shapes.json").read_text())
    tower = {name: torch.randn(shape).half() for name, shape in shapes.items()}
    text = {name: torch.randn(shape).half() for name, shape in TEXT_TOWER.items()}
    numbers = {name: torch.tensor(value) for name, value in NUMBERS.items()}
    counters = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(3) for name in tower if "running_var" in name
    }
    torchscript.save({**tower, **counters, **text, **numbers}, folder / "clip.pt")
    theirs = {name.replace("visual.", "backbone.", 1): tensor.float() for name, tensor in tower.items()}
    theirs.update({name: torch.randn(3) for name in OTHERS_OF_REGIONCLIP})
    torch.save({"model": theirs, "iteration": 599999}, folder / "regionclip.pth")
    np.savez(folder / "expected.npz", **{name: tensor.float().numpy() for name, tensor in tower.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
