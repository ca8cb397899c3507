"""open_clip's vision transformer with random weights, in a process of its own, and its maps and gradients:
``python -m tests.trainer.models.backbones.open_clip_vit FOLDER ...``.

FOLDER/sizes.json has `vision_cfg`, `quick_gelu`, the images' `height` and `width`, `out_indices`. Made of it in each:

found.npz      images; tokens, behind the last block; map N; weight N, by which a map's numbers are summed; parameter
               NAME and gradient NAME, as CLIPViT calls them
clip.pth       the state dict of the whole CLIP, text tower included
archive.pt     the same in half precision, as OpenAI publishes CLIP
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data_server.commands.embed import _open_clip  # a torchvision that does not load would stop the plain import
from tests import torchscript

open_clip = _open_clip()


class ChannelNorm(nn.LayerNorm):
    """A layer norm of the channels of (B,C,H,W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Maps(nn.Module):
    """BEiT's and F-ViT's four maps of four blocks' maps."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def twice() -> nn.Module:
            return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)

        self.fpn1 = nn.Sequential(twice(), ChannelNorm(width), nn.GELU(), twice())
        self.fpn2 = nn.Sequential(twice())
        self.fpn3 = nn.Identity()
        self.fpn4 = nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        return [getattr(self, f"fpn{number}")(one) for number, one in enumerate(maps, 1)]


def save(clip: nn.Module, folder: Path) -> None:
    state = clip.state_dict()
    torch.save(state, folder / "clip.pth")
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torchscript.save(half, folder / "archive.pt")


def main(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = json.loads((folder / "sizes.json").read_text())
    text = {"context_length": 7, "vocab_size": 20, "width": 8, "heads": 1, "layers": 1}
    clip = open_clip.CLIP(24, sizes["vision_cfg"], text, quick_gelu=sizes["quick_gelu"]).eval()
    visual, pyramid = clip.visual, Maps(sizes["vision_cfg"]["width"])
    for part in (visual, pyramid):
        for name, value in part.named_parameters():
            is_norm = len(value.shape) == 1 and name.endswith("weight")
            value.data = (0.3 if "positional" in name else 0.15) * torch.randn(value.shape) + is_norm
    save(clip, folder)
    parameters = {name: value for part in (visual, pyramid) for name, value in part.named_parameters()}
    parameters = {name: value for name, value in parameters.items() if not name.startswith(("ln_post", "proj"))}

    images = torch.randn(2, 3, sizes["height"], sizes["width"])
    patch = visual.patch_size[0]
    padded = functional.pad(images, (0, -sizes["width"] % patch, 0, -sizes["height"] % patch))
    grid = padded.shape[2] // patch, padded.shape[3] // patch
    learnt = visual.positional_embedding
    places = learnt[1:].T.reshape(1, learnt.shape[1], *visual.grid_size)
    places = functional.interpolate(places, grid, mode="bicubic", align_corners=False)
    del visual.positional_embedding
    visual.positional_embedding = torch.cat([learnt[:1], places[0].flatten(1).T])
    x, behind = visual._embeds(padded), []
    for block in visual.transformer.resblocks:
        x = block(x)
        behind.append(x[:, 1:].transpose(1, 2).unflatten(2, grid))
    maps = pyramid([behind[index] for index in sizes["out_indices"]])
    weights = [torch.randn(one.shape) for one in maps]
    sum((one * weight).sum() for one, weight in zip(maps, weights, strict=True)).backward()

    found = {"images": images, "tokens": x} | {f"map {i}": one for i, one in enumerate(maps)}
    found |= {f"weight {i}": one for i, one in enumerate(weights)}
    found |= {f"parameter {name}": value for name, value in parameters.items()}
    found |= {f"gradient {name}": value.grad for name, value in parameters.items()}
    np.savez(folder / "found.npz", **{name: value.detach().numpy() for name, value in found.items()})


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
