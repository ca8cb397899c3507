"""CLIP's attention pooling: the features of a RoI become one vector of the space that text embeddings live in.

    (C,7,7) ─ 49 tokens ─┬─ mean ─► token 0 ─ + position ─ q ─┐
                         └──────► 50 tokens ─ + position ─ k, v ─ attention of token 0 ─ c_proj ─► (D,)

Only token 0 is answered, so keys and values need not be computed for all 50 tokens: the query is carried through the
key projection to the tokens (q·(Wk x) = (Wkᵀ q)·x), and the values' projection is applied to the attention's mean of
the tokens (Σ a (Wv x) = Wv Σ a x). That is the same number at a twentieth of the work.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"; CLIP's AttentionPool2d.
"""

from __future__ import annotations

import math

from trainer.device import jt, nn
from trainer.models.layers import gaussian, init_normal
from trainer.models.losses import log_sum_exp
from trainer.models.ops.matmul import batched_matmul


class AttentionPool2d(nn.Module):
    """Names and shapes of the parameters are CLIP's.

    Args:
        size: height and width of the features.
        channels: of the features, a multiple of `heads`.
        outputs: length of the vector.
    """

    def __init__(self, size: int, channels: int, heads: int, outputs: int) -> None:
        self.heads = heads
        self.positional_embedding = gaussian((size * size + 1, channels), channels**-0.5)
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, outputs)
        for layer in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            init_normal(layer, channels**-0.5)

    def execute(self, features: jt.Var) -> jt.Var:
        """RoI features f32 (R,channels,size,size) -> f32 (R,outputs)."""
        rois, channels = features.shape[:2]
        width = channels // self.heads
        tokens = features.reshape(rois, channels, -1)
        tokens = jt.concat([tokens.sum(-1, keepdims=True) / float(tokens.shape[2]), tokens], 2)
        tokens = tokens + self.positional_embedding.transpose(1, 0).unsqueeze(0)

        query = self.q_proj(tokens[:, :, 0]).reshape(rois, self.heads, width)
        probe = batched_matmul(query.transpose(1, 0, 2), self.k_proj.weight.reshape(self.heads, width, channels))
        scores = batched_matmul(probe.transpose(1, 0, 2), tokens)
        # The keys' bias adds the same to all tokens, which the softmax does not see; it stands here to be trained as
        # in the reference (by weight decay alone).
        scores = scores + (query * self.k_proj.bias.reshape(1, self.heads, width)).sum(-1, keepdims=True)
        scores = scores / math.sqrt(width)
        attention = jt.exp(scores - log_sum_exp(scores).unsqueeze(-1))

        mean = batched_matmul(attention, tokens.transpose(0, 2, 1))
        values = self.v_proj.weight.reshape(self.heads, width, channels).transpose(0, 2, 1)
        pooled = batched_matmul(mean.transpose(1, 0, 2), values).transpose(1, 0, 2).reshape(rois, channels)
        return self.c_proj(pooled + self.v_proj.bias)
