"""Files as PyTorch, MMEngine and TorchScript write them. Run in a process of its own: ``python torch_files.py FOLDER``.

Beside them lies ``expected.npz``, the same tensors as numpy arrays (bfloat16 as float32).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def state_dict() -> OrderedDict:
    """Tensors of every dtype and layout."""
    torch.manual_seed(0)
    tensors = OrderedDict()
    for dtype in DTYPES:
        tensors[f"dtypes.{dtype}".replace("torch.", "")] = (torch.randn(3, 4) * 9).to(dtype)
    whole = torch.randn(6, 5, 4)
    tensors["views.whole"] = whole
    tensors["views.part"] = whole[2:4]
    tensors["views.transposed"] = whole.permute(2, 0, 1)
    tensors["views.stepped"] = whole[::2, 1::3]
    tensors["views.expanded"] = torch.randn(4, 1).expand(4, 7)
    tensors["views.channels_last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors["views.bfloat16"] = torch.randn(8).bfloat16()[3:]
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["parameter"] = torch.nn.Parameter(torch.randn(5))
    return tensors


class Block(torch.nn.Module):
    """A module with a child of its own, a buffer, and attributes that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3)
        self.bn = torch.nn.BatchNorm2d(3)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU())
        self.sizes = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.bn(self.conv(x)))


def arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in tensors.items()
    }


def main(folder: Path) -> None:
    tensors = state_dict()
    np.savez(folder / "expected.npz", **arrays(tensors))
    torch.save(tensors, folder / "zip.pth")
    torch.save(tensors, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"module." + name: tensor for name, tensor in tensors.items()}, folder / "parallel.pth")
    torch.save({"model": tensors, "iteration": 3, "optimizer": {"state": {0: torch.ones(2)}}}, folder / "model.pth")

    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    hub = MessageHub.get_instance("run")
    hub.update_scalar("train/loss", 0.5)
    hub.update_info("best", np.float64(0.3))
    meta = {"epoch": 12, "dataset_meta": {"classes": ("a", "b")}, "cfg": "model = dict()", "palette": np.zeros(3)}
    document = {
        "meta": meta,
        "state_dict": tensors,
        "optimizer": optimizer.state_dict(),
        "message_hub": hub.state_dict(),
    }
    save_checkpoint(document, str(folder / "mmengine.pth"))

    block = Block().half().eval()
    np.savez(folder / "block.npz", **arrays(block.state_dict()))
    torch.jit.script(block).save(str(folder / "script.pt"))
    torch.save(block, folder / "whole_module.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
