"""Swin Transformer, a backbone of four maps with strides 4, 8, 16 and 32 (Liu et al., ICCV 2021).

    image ── 4x4 patches, norm ── stage 0 ── merge 2x2 ── stage 1 ── merge 2x2 ── stage 2 ── merge 2x2 ── stage 3
                                     └ norm0                └ norm1                 └ norm2                 └ norm3

    block    x + attention(norm1(x)), and of that x + MLP(norm2(x))
    attention within windows of w x w places; in every second block the windows lie w // 2 further right and below, and
             those at the border, which then hold places from two sides of the map, are masked

Maps are f32 (B,H,W,C) within. Names, sizes and defaults are those of MMDetection's SwinTransformer. Whether a block is
left out (`drop_path_rate`) is drawn on the host before its stage, so that checkpointed blocks have it twice.
"""

from __future__ import annotations

import numpy as np

from shared.errors import UserError
from trainer.device import jt, nn, var
from trainer.models.backbones.backbone import WHERE, Backbone
from trainer.models.backbones.windows import distances, padded, regions, rolled
from trainer.models.checkpointing import checkpointed
from trainer.models.layers import GELU, LayerNorm, gaussian
from trainer.models.ops.convolution import convolve
from trainer.models.ops.matmul import batched_matmul
from trainer.models.registry import register, require
from trainer.models.values import Count, FourCounts, Share, Stages

_MASKED = -100.0  # added to what windows' softmax must leave out


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels as vectors, normed."""

    def __init__(self, channels: int) -> None:
        self.projection = nn.Conv(3, channels, 4, stride=4)
        self.norm = LayerNorm(channels)

    def execute(self, images: jt.Var) -> jt.Var:
        """f32 (B,3,H,W) -> f32 (B,H/4,W/4,C), rounded up."""
        x = padded(images.transpose(0, 2, 3, 1), 4).transpose(0, 3, 1, 2)
        return self.norm(convolve(x, self.projection.weight, self.projection.bias, 4, 0).transpose(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Four neighbours as one vector of twice the channels."""

    def __init__(self, channels: int) -> None:
        self.norm = LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,H,W,C) -> f32 (B,H/2,W/2,2C), rounded up."""
        x = padded(x, 2)
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 5, 2, 4)
        return self.reduction(self.norm(x.reshape(batch, height // 2, width // 2, 4 * channels)))


class WindowMSA(nn.Module):
    """Attention of several heads among the places of a window, with a bias for each of their distances."""

    def __init__(self, channels: int, heads: int, window: int, qkv_bias: bool, scale: float | None) -> None:
        self.heads, self.scale = heads, scale or (channels // heads) ** -0.5
        self.relative_position_bias_table = jt.zeros(((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.window = window

    def execute(self, x: jt.Var, mask: jt.Var | None) -> jt.Var:
        """Windows f32 (B·n,N,C), `mask` f32 (n,N,N) or None -> f32 (B·n,N,C)."""
        windows, places, channels = x.shape
        each = channels // self.heads
        qkv = self.qkv(x).reshape(windows, places, 3, self.heads, each).transpose(2, 0, 3, 1, 4)
        query, key, value = (qkv[part].reshape(windows * self.heads, places, each) for part in range(3))
        weights = batched_matmul(query * self.scale, key.transpose(0, 2, 1))
        # A product with zeros and ones: its gradient is a product as well, and no scattered sum.
        bias = jt.matmul(var(distances(self.window)), self.relative_position_bias_table)
        bias = bias.transpose(1, 0).reshape(1, 1, self.heads, places, places)
        count = 1 if mask is None else mask.shape[0]
        weights = weights.reshape(windows // count, count, self.heads, places, places) + bias
        if mask is not None:
            weights = weights + mask.reshape(1, count, 1, places, places)
        weights = nn.softmax(weights, dim=-1).reshape(windows * self.heads, places, places)
        x = batched_matmul(weights, value).reshape(windows, self.heads, places, each)
        return self.proj(x.transpose(0, 2, 1, 3).reshape(windows, places, channels))


class ShiftWindowMSA(nn.Module):
    """`WindowMSA` of a map cut into windows, `shift` places further right and below."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, qkv_bias: bool, scale: float | None) -> None:
        self.window, self.shift = window, shift
        self.w_msa = WindowMSA(channels, heads, window, qkv_bias, scale)

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,H,W,C) -> f32 (B,H,W,C)."""
        _, height, width, _ = x.shape
        x = padded(x, self.window)
        batch, high, wide, channels = x.shape
        rows, columns = high // self.window, wide // self.window
        x = rolled(x, self.shift)
        x = x.reshape(batch, rows, self.window, columns, self.window, channels).transpose(0, 1, 3, 2, 4, 5)
        mask = None
        if self.shift:
            region = var(regions(high, wide, self.window, self.shift))
            mask = jt.ternary(region.unsqueeze(1) == region.unsqueeze(2), 0.0, _MASKED)
        x = self.w_msa(x.reshape(batch * rows * columns, self.window**2, channels), mask)
        x = x.reshape(batch, rows, columns, self.window, self.window, channels).transpose(0, 1, 3, 2, 4, 5)
        return rolled(x.reshape(batch, high, wide, channels), -self.shift)[:, :height, :width]


class FFN(nn.Module):
    """Two linear layers at every place."""

    def __init__(self, channels: int, inner: int) -> None:
        first = nn.Sequential(nn.Linear(channels, inner), GELU())
        self.layers = nn.Sequential(first, nn.Linear(inner, channels))

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,H,W,C) -> f32 (B,H,W,C)."""
        return self.layers(x)


class SwinBlock(nn.Module):
    """Attention and MLP, each added to what goes in, and in training left out of an image with `drop_rate`.

    Attributes:
        kept: f32 (2,B,1,1,1), what each of the two is multiplied by for each image: 0 or 1 / (1 - drop_rate); in a
            tuple, because it is no parameter. Empty where nothing is left out.
    """

    def __init__(self, attention: ShiftWindowMSA, channels: int, inner: int, drop_rate: float) -> None:
        self.norm1 = LayerNorm(channels)
        self.attn = attention
        self.norm2 = LayerNorm(channels)
        self.ffn = FFN(channels, inner)
        self.drop_rate = drop_rate
        self.kept: tuple = ()

    def draw(self, batch: int) -> None:
        """Draws what is left out of a batch of so many images."""
        if self.drop_rate and self.is_training():
            kept = np.random.random((2, batch, 1, 1, 1)) >= self.drop_rate
            self.kept = tuple(var(kept / (1.0 - self.drop_rate), "float32"))
        else:
            self.kept = ()

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,H,W,C) -> f32 (B,H,W,C)."""
        change = self.attn(self.norm1(x))
        x = x + (change * self.kept[0] if self.kept else change)
        change = self.ffn(self.norm2(x))
        return x + (change * self.kept[1] if self.kept else change)


class SwinBlockSequence(nn.Module):
    """A stage: its blocks, and what merges its map for the next."""

    def __init__(self, blocks: list[SwinBlock], downsample: PatchMerging | None) -> None:
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample


@register
class SwinTransformer(Backbone):
    """mmdet's SwinTransformer.

    Args:
        embed_dims: channels of the first map; each next has twice as many.
        window_size: w, in places.
        mlp_ratio: channels within the MLP, in multiples of the map's.
        depths, num_heads: of each stage.
        out_indices: stages whose maps are returned.
        qk_scale: of the products of queries and keys; None: the head's channels to the power of -0.5.
        drop_path_rate: of the last block; those before have evenly less, the first none.
        with_cp: checkpoint the blocks that train: less memory, and their forward pass a second time.
        convert_weights: files of the original program are known by their names, whatever is said here.
        frozen_stages: -1 nothing, 0 the patches, n the patches and the first n stages.
    """

    def __init__(
        self,
        pretrain_img_size: int | list = 224,  # noqa: ARG002 - of absolute positions only
        in_channels: int = 3,
        embed_dims: Count = 96,
        patch_size: int = 4,
        window_size: Count = 7,
        mlp_ratio: Count = 4,
        depths: FourCounts = (2, 2, 6, 2),
        num_heads: FourCounts = (3, 6, 12, 24),
        strides: FourCounts = (4, 2, 2, 2),
        out_indices: Stages = (0, 1, 2, 3),
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        patch_norm: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: Share = 0.1,
        use_abs_pos_embed: bool = False,
        act_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        convert_weights: bool = False,  # noqa: ARG002 - see above
        frozen_stages: int = -1,
        where: str = "backbone",
    ) -> None:
        for name, value, expected in (
            ("in_channels", in_channels, 3),
            ("patch_size", patch_size, 4),
            ("strides", list(strides), [4, 2, 2, 2]),
            ("patch_norm", patch_norm, True),
            ("drop_rate", drop_rate, 0.0),
            ("attn_drop_rate", attn_drop_rate, 0.0),
            ("use_abs_pos_embed", use_abs_pos_embed, False),
            ("act_cfg", act_cfg or {"type": "GELU"}, {"type": "GELU"}),
            ("norm_cfg", norm_cfg or {"type": "LN"}, {"type": "LN"}),
        ):
            require(value, expected, f"{where}.{name}")
        if drop_path_rate == 1:
            raise UserError(f"{where}.drop_path_rate: a number from 0 to below 1 is expected, found {drop_path_rate!r}")
        for stage, heads in enumerate(num_heads):
            if (channels := embed_dims * 2**stage) % heads:
                raise UserError(
                    f"{where}.num_heads[{stage}]: a divisor of the map's {channels} channels is expected, found {heads}"
                )
        self.out_indices, self.with_cp = tuple(out_indices), with_cp
        self.patch_embed = PatchEmbed(embed_dims)
        rates = iter(np.linspace(0, drop_path_rate, sum(depths)).tolist())
        sequences = []
        for stage, depth in enumerate(depths):
            channels, blocks = embed_dims * 2**stage, []
            for number in range(depth):
                shift = window_size // 2 if number % 2 else 0
                attention = ShiftWindowMSA(channels, num_heads[stage], window_size, shift, qkv_bias, qk_scale)
                rate = next(rates)
                blocks.append(SwinBlock(attention, channels, mlp_ratio * channels, rate * (stage >= frozen_stages)))
            sequences.append(SwinBlockSequence(blocks, PatchMerging(channels) if stage < 3 else None))
        # MMDetection's name, which is a method's of Backbone, too: that is not called here.
        self.__dict__["stages"] = nn.ModuleList(sequences)
        for stage in self.out_indices:
            setattr(self, f"norm{stage}", LayerNorm(embed_dims * 2**stage))
        self._init_weights()
        self.frozen_stages = frozen_stages
        self.freeze(frozen_stages)

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight.assign(gaussian(module.weight.shape, 0.02))
                if module.bias is not None:
                    module.bias.assign(jt.zeros(module.bias.shape))

    def freeze(self, frozen_stages: int) -> None:
        """See `SwinTransformer`."""
        if frozen_stages not in range(-1, 5):
            raise UserError(f"{WHERE}.frozen_stages: -1 to 4 is expected, found {frozen_stages!r}")
        frozen: list[nn.Module] = [self.patch_embed] if frozen_stages >= 0 else []
        for stage in range(frozen_stages):
            frozen += [
                self.__dict__["stages"][stage],
                *([getattr(self, f"norm{stage}")] if stage in self.out_indices else []),
            ]
        for module in frozen:
            for parameter in module.parameters():
                parameter.stop_grad()

    def execute(self, images: jt.Var) -> list[jt.Var]:
        """Images f32 (B,3,H,W) -> the maps of `out_indices`, f32 (B,C,H/4,W/4) to (B,8C,H/32,W/32), rounded up."""
        x = self.patch_embed(images)
        maps = []
        for number, stage in enumerate(self.__dict__["stages"]):
            if number <= self.frozen_stages:
                x = x.stop_grad()  # Jittor does not say so of what comes of what has no gradient
            for block in stage.blocks:
                block.draw(x.shape[0])
            x = checkpointed(stage.blocks, x) if self.with_cp else stage.blocks(x)
            if number in self.out_indices:
                maps.append(getattr(self, f"norm{number}")(x).transpose(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps
