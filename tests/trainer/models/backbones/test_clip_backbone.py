"""CLIP's ResNet: golden values of the authors' code, names, widths, what is frozen."""

import numpy as np
import pytest

from shared.errors import UserError
from tests.trainer.models.examples import fill_with_sequences, sequence
from trainer.device import jt, var
from trainer.models.backbones.clip_backbone import Bottleneck, CLIPResNet
from trainer.models.ops.average_pool import average_pool
from trainer.models.registry import build


def test_golden_values_of_a_bottleneck() -> None:
    block = Bottleneck(8, 4, halve=True)
    fill_with_sequences(block)
    out = block(var(sequence((1, 8, 6, 6), step=0.31))).numpy()
    assert out.shape == (1, 16, 3, 3)
    assert out.sum() == pytest.approx(17.862313, rel=1e-5)
    np.testing.assert_allclose(out.ravel()[:4], [0, 0.010765, 0.195738, 0.024789], atol=1e-5)
    np.testing.assert_allclose(out.ravel()[-2:], [0.238924, 0.052122], atol=1e-5)


def test_golden_values_of_the_whole_backbone() -> None:
    backbone = CLIPResNet()
    fill_with_sequences(backbone)
    with jt.no_grad():
        out = backbone(var(sequence((1, 3, 64, 96), 2, 0.031)))[0].numpy()
    assert out.shape == (1, 1024, 4, 6)
    # Sums over 45 convolutions: 1e-3, as everywhere behind a deep stack.
    assert out.sum() == pytest.approx(5469.676, rel=1e-3)
    assert np.abs(out).mean() == pytest.approx(0.22256169, rel=1e-3)
    np.testing.assert_allclose(out.ravel()[[3, -2, -1]], [0.068397, 0.154765, 0.752067], rtol=1e-3)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 2)])
def test_the_average_pool_drops_an_odd_last_row_and_column(size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    height, width = size[0] // 2, size[1] // 2
    cells = x[:, :, : height * 2, : width * 2].reshape(2, 3, height, 2, width, 2)
    np.testing.assert_allclose(average_pool(var(x)).numpy(), cells.mean((3, 5)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("layers", "width"), [((3, 4, 6, 3), 8), ((4, 6, 10, 6), 10)])
def test_blocks_and_channels_follow_the_config(layers: tuple[int, ...], width: int) -> None:
    backbone = CLIPResNet(layers, width)
    names = [name for name, _ in backbone.named_parameters()]
    assert sum(name.endswith(".conv3.weight") for name in names) == sum(layers[:3])
    with jt.no_grad():
        outputs = backbone(jt.zeros((2, 3, 64, 96)))
    assert [x.shape for x in outputs] == [[2, 16 * width, 4, 6]]


@pytest.mark.parametrize(("frozen_stages", "prefixes"), [(-1, ()), (0, ("conv", "bn")), (1, ("conv", "bn", "layer1"))])
def test_the_stem_and_the_first_stages_are_frozen(frozen_stages: int, prefixes: tuple[str, ...]) -> None:
    backbone = CLIPResNet([1, 1, 1, 1], 8, frozen_stages)
    for name, value in backbone.named_parameters():
        assert value.is_stop_grad() == (name.startswith(prefixes) or "running" in name), name


@pytest.mark.parametrize(("stages", "frozen"), [(0, False), (3, True)])
def test_the_map_of_a_frozen_backbone_has_no_gradient_so_nothing_is_kept_for_it(stages: int, frozen: bool) -> None:
    (c4,) = CLIPResNet((1, 1, 1, 1), 4, frozen_stages=stages)(jt.zeros((1, 3, 32, 32)).stop_grad())
    assert c4.is_stop_grad() == frozen


def test_blocks_start_as_the_identity() -> None:
    layer = CLIPResNet([3, 1, 1, 1], 8).layer1
    x = jt.rand(2, 32, 8, 8)
    np.testing.assert_allclose(layer[1](x).numpy(), x.numpy(), rtol=1e-6)


def test_wrong_numbers_are_refused_by_their_full_name() -> None:
    with pytest.raises(UserError, match=r"backbone\.layers.*four whole numbers"):
        build({"type": "CLIPResNet", "layers": [3, 4, 6]}, "backbone")
    with pytest.raises(UserError, match=r"backbone\.frozen_stages: -1 to 3 is expected, found 4"):
        CLIPResNet(frozen_stages=4)
