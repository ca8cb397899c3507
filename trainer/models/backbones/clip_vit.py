"""CLIP's Vision Transformer, plain, and four maps that a pyramid takes of it (Dosovitskiy et al., ICLR 2021).

    image ── patches, class token, positions, ln_pre ── blocks 0..3 ── 4, 5 ── 6, 7 ── 8..11
                                                             │           │       │       │
                                                           fpn1        fpn2    fpn3    fpn4
                                                        stride 4           8      16      32, for patches of 16

    block    x + attention(ln_1(x)), and of that x + MLP(ln_2(x)); attention is that of all tokens to all
    fpn1     two deconvolutions 2x2, a layer norm and GELU between
    fpn2     one deconvolution; fpn3 nothing; fpn4 a max pool 2x2

The maps are made as BEiT's detectors and CLIPSelf's F-ViT make them, which have a batch norm in `fpn1`; its statistics
would change in training, so here the channels of a place are normed. Tokens are f32 (B,1+N,C), the class token first.
Parameters are named as in OpenAI's CLIP and open_clip (``visual.*``), whose `ln_post` and `proj`, after the last block,
have no part in a map.
"""

from __future__ import annotations

from shared.errors import UserError
from trainer.device import jt, nn
from trainer.models.backbones.backbone import Backbone
from trainer.models.backbones.positions import resized
from trainer.models.backbones.windows import padded
from trainer.models.checkpointing import checkpointed
from trainer.models.layers import GELU, Deconvolution, LayerNorm, gaussian, init_normal
from trainer.models.ops.convolution import convolve
from trainer.models.ops.matmul import batched_matmul
from trainer.models.registry import register
from trainer.models.values import Count, FourIndices

_LOWEST = -3.4e38  # below every number of a map


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), OpenAI's approximation of GELU."""

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (...,C) -> f32 (...,C)."""
        return x * jt.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Attention of several heads among all tokens; torch's MultiheadAttention, by its names."""

    def __init__(self, width: int, heads: int) -> None:
        self.heads = heads
        self.in_proj_weight = gaussian((3 * width, width), 0.02)
        self.in_proj_bias = jt.zeros(3 * width)
        self.out_proj = nn.Linear(width, width)

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,N,C) -> f32 (B,N,C)."""
        batch, tokens, width = x.shape
        each = width // self.heads
        qkv = nn.matmul_transpose(x, self.in_proj_weight) + self.in_proj_bias
        qkv = qkv.reshape(batch, tokens, 3, self.heads, each).transpose(2, 0, 3, 1, 4)
        query, key, value = (qkv[part].reshape(batch * self.heads, tokens, each) for part in range(3))
        weights = nn.softmax(batched_matmul(query * each**-0.5, key.transpose(0, 2, 1)), dim=-1)
        x = batched_matmul(weights, value).reshape(batch, self.heads, tokens, each)
        return self.out_proj(x.transpose(0, 2, 1, 3).reshape(batch, tokens, width))


class MLP(nn.Module):
    """Two linear layers at every token."""

    def __init__(self, width: int, gelu: nn.Module) -> None:
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = gelu
        self.c_proj = nn.Linear(4 * width, width)

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,N,C) -> f32 (B,N,C)."""
        return self.c_proj(self.gelu(self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    """Attention and MLP, each added to what goes in."""

    def __init__(self, width: int, heads: int, gelu: nn.Module) -> None:
        self.ln_1 = LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = LayerNorm(width)
        self.mlp = MLP(width, gelu)

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,N,C) -> f32 (B,N,C)."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """The blocks, under the name that CLIP gives them: `resblocks`."""

    def __init__(self, blocks: list[ResidualAttentionBlock]) -> None:
        self.resblocks = nn.ModuleList(blocks)


class MaxPool(nn.Module):
    """The largest of 2x2 places, of those that there are at the border."""

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,H,W,C) -> f32 (B,H/2,W/2,C), rounded up."""
        x = padded(x, 2, _LOWEST)
        batch, height, width, channels = x.shape
        return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


@register
class CLIPViT(Backbone):
    """The image tower of CLIP's ViT-B/16, by default.

    The maps' strides are a quarter, a half, one and two patches: 4, 8, 16, 32 pixels for patches of 16; 8, 16, 32, 64
    for 32; 3.5, 7, 14, 28 for 14. All have `width` channels. An image whose sides are no multiples of a patch gets
    zeros right and below.

    Args:
        patch_size: in pixels.
        width: channels; 768 is ViT-B, 1024 ViT-L.
        layers: blocks, up to the last one whose map is returned.
        heads: of attention; CLIP has one for 64 channels.
        image_size: of the square images that the weights were trained with, in pixels: its patches are the places whose
            positions were learnt. Maps of other sizes have positions in between.
        out_indices: the blocks whose tokens `fpn1` to `fpn4` make a map of.
        quick_gelu: OpenAI's GELU, and that of open_clip's models with ``quickgelu`` in their names; False: the exact
            one, which the others have.
        with_cp: checkpoint the blocks that train: less memory, and their forward pass a second time.
        frozen_stages: -1 nothing, 0 what is before the blocks, n that and the first n blocks.
    """

    def __init__(
        self,
        patch_size: Count = 16,
        width: Count = 768,
        layers: Count = 12,
        heads: Count = 12,
        image_size: Count = 224,
        out_indices: FourIndices = (3, 5, 7, 11),
        quick_gelu: bool = True,
        with_cp: bool = False,
        frozen_stages: int = -1,
        where: str = "backbone",
    ) -> None:
        last = f"{layers - 1}, the last of {layers} layers, as the largest"
        for key, value, fits, expected in (
            ("heads", heads, width % heads == 0, f"a divisor of width, {width},"),
            ("image_size", image_size, image_size % patch_size == 0, f"a multiple of patch_size, {patch_size},"),
            ("out_indices", list(out_indices), max(out_indices) == layers - 1, last),
            ("frozen_stages", frozen_stages, frozen_stages in range(-1, layers + 1), f"-1 to {layers}"),
        ):
            if not fits:
                raise UserError(f"{where}.{key}: {expected} is expected, found {value!r}")
        self.patch_size, self.with_cp = patch_size, with_cp
        self.out_indices, self.frozen_stages = tuple(out_indices), frozen_stages
        self.conv1 = nn.Conv(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = gaussian((width,), width**-0.5)
        self.positional_embedding = gaussian(((image_size // patch_size) ** 2 + 1, width), width**-0.5)
        self.ln_pre = LayerNorm(width)
        gelu = QuickGELU() if quick_gelu else GELU()
        self.transformer = Transformer([ResidualAttentionBlock(width, heads, gelu) for _ in range(layers)])
        self.fpn1 = nn.Sequential(Deconvolution(width, width), LayerNorm(width), GELU(), Deconvolution(width, width))
        self.fpn2 = nn.Sequential(Deconvolution(width, width))
        self.fpn3 = nn.Sequential()
        self.fpn4 = nn.Sequential(MaxPool())
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init_normal(module, 0.02)
        self.freeze(frozen_stages)

    def freeze(self, frozen_stages: int) -> None:
        """See `CLIPViT`."""
        frozen = [self.class_embedding, self.positional_embedding] if frozen_stages >= 0 else []
        modules = [self.conv1, self.ln_pre] if frozen_stages >= 0 else []
        for module in (*modules, *list(self.transformer.resblocks)[: max(frozen_stages, 0)]):
            frozen += module.parameters()
        for parameter in frozen:
            parameter.stop_grad()

    def embedded(self, images: jt.Var) -> jt.Var:
        """Images f32 (B,3,H,W) -> what goes into the first block, f32 (B,1+h·w,C)."""
        images = padded(images.transpose(0, 2, 3, 1), self.patch_size).transpose(0, 3, 1, 2)
        x = convolve(images, self.conv1.weight, None, self.patch_size, 0)
        batch, width, high, wide = x.shape
        x = x.transpose(0, 2, 3, 1) + resized(self.positional_embedding[1:], high, wide)
        first = (self.class_embedding + self.positional_embedding[0]).broadcast((batch, 1, width))
        return self.ln_pre(jt.concat([first, x.reshape(batch, high * wide, width)], 1))

    def after_each_block(self, images: jt.Var) -> list[jt.Var]:
        """Images f32 (B,3,H,W) -> the tokens after each block, f32 (B,1+h·w,C)."""
        x, tokens = self.embedded(images), []
        for number, block in enumerate(self.transformer.resblocks):
            if number <= self.frozen_stages:
                x = x.stop_grad()  # Jittor does not say so of what comes of what has no gradient
            x = checkpointed([block], x) if self.with_cp else block(x)
            tokens.append(x)
        return tokens

    def execute(self, images: jt.Var) -> list[jt.Var]:
        """Images f32 (B,3,H,W) of h·w patches -> f32 (B,C,4h,4w), (B,C,2h,2w), (B,C,h,w), (B,C,h/2,w/2), rounded up."""
        batch, _, height, width = images.shape
        high, wide = -(-height // self.patch_size), -(-width // self.patch_size)
        tokens, maps = self.after_each_block(images), []
        for scale, index in zip((self.fpn1, self.fpn2, self.fpn3, self.fpn4), self.out_indices, strict=True):
            x = tokens[index][:, 1:].reshape(batch, high, wide, -1)
            maps.append(scale(x).transpose(0, 3, 1, 2))
        return maps
