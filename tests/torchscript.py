"""TorchScript archives of given tensors. Imports torch: only for processes without Jittor."""

from __future__ import annotations

from pathlib import Path

import torch


class Node(torch.nn.Module):
    """A module of a tree that is known by its tensors' names."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Writes an archive whose state dict is `tensors`; running statistics and integers are buffers."""
    root = Node()
    for name, tensor in tensors.items():
        *parents, last = name.split(".")
        node = root
        for part in parents:
            if not hasattr(node, part):
                node.add_module(part, Node())
            node = getattr(node, part)
        if last.startswith("running") or not tensor.is_floating_point():
            node.register_buffer(last, tensor)
        else:
            node.register_parameter(last, torch.nn.Parameter(tensor))
    torch.jit.script(root).save(str(path))
