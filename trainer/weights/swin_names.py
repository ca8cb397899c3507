"""Weights of Swin Transformer's own program under MMDetection's names, which are ours.

    layers.1.blocks.0.attn.qkv.weight     backbone.stages.1.blocks.0.attn.w_msa.qkv.weight
    layers.1.blocks.0.mlp.fc1.weight      backbone.stages.1.blocks.0.ffn.layers.0.0.weight
    layers.1.blocks.0.mlp.fc2.weight      backbone.stages.1.blocks.0.ffn.layers.1.weight
    layers.1.downsample.*                 backbone.stages.1.downsample.*, its inputs in another order
    patch_embed.proj.*                    backbone.patch_embed.projection.*
    head.*, norm.*, *.attn_mask           (not used: the classifier, and what is computed from sizes)

Where four places become one, that program has all channels of a place, then those of the next, column by column;
MMDetection has the four places of a channel, row by row, and then those of the next.
"""

from __future__ import annotations

import re

import numpy as np

TITLE = "Swin Transformer"
_SIGN = re.compile(r"layers\.\d+\.blocks\.\d+\.attn\.relative_position_bias_table$")
_RENAMES = (
    (".attn.", ".attn.w_msa."),
    (".mlp.fc1.", ".ffn.layers.0.0."),
    (".mlp.fc2.", ".ffn.layers.1."),
    ("patch_embed.proj.", "patch_embed.projection."),
)
_UNUSED = re.compile(r"(head|norm)\.|.*\.(attn_mask|relative_position_index)$")
_BY_ROWS = [0, 2, 1, 3]


def are_these(arrays: dict[str, np.ndarray]) -> bool:
    """Whether weights have the names of that program."""
    return any(_SIGN.match(name) for name in arrays)


def ours(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Its weights under our names, in our order."""
    return {_renamed(name): _reordered(name, array) for name, array in arrays.items() if not _UNUSED.match(name)}


def _renamed(name: str) -> str:
    for theirs, our in _RENAMES:
        name = name.replace(theirs, our)
    return "backbone." + re.sub(r"^layers\.", "stages.", name)


def _reordered(name: str, array: np.ndarray) -> np.ndarray:
    if ".downsample." not in name:
        return array
    parts = array.reshape(*array.shape[:-1], 4, array.shape[-1] // 4)[..., _BY_ROWS, :]
    return parts.swapaxes(-1, -2).reshape(array.shape)
