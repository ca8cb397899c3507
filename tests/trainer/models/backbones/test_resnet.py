"""ResNet: sizes and names at every depth, initial weights, what is frozen."""

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.backbones.resnet import ResNet


@pytest.mark.parametrize(("depth", "blocks", "channels"), [(18, 8, 64), (34, 16, 64), (50, 16, 256), (101, 33, 256)])
def test_each_depth_has_its_blocks_and_output_sizes(depth: int, blocks: int, channels: int) -> None:
    backbone = ResNet(depth, base_channels=8)
    names = {name for name, _ in backbone.named_parameters()}
    last = "conv2" if depth < 50 else "conv3"
    assert sum(name.endswith(f"{last}.weight") for name in names) == blocks
    with jt.no_grad():
        shapes = [output.shape for output in backbone(jt.zeros((2, 3, 64, 96)))]
    width = channels // 8
    assert shapes == [[2, width, 16, 24], [2, 2 * width, 8, 12], [2, 4 * width, 4, 6], [2, 8 * width, 2, 3]]


def test_parameters_have_the_names_of_the_checkpoints() -> None:
    names = {name for name, _ in ResNet(50, base_channels=8).named_parameters()}
    for name in (
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.running_mean",
        "layer3.5.bn3.bias",
    ):
        assert name in names
    assert "conv1.bias" not in names
    assert "layer1.1.downsample.0.weight" not in names


def test_blocks_start_as_the_identity() -> None:
    backbone = ResNet(18, base_channels=8)
    x = jt.array(np.abs(np.random.default_rng(0).standard_normal((2, 8, 16, 16))).astype(np.float32))
    np.testing.assert_allclose(backbone.layer1(x).numpy(), x.numpy(), rtol=1e-6)


def test_convolutions_start_with_the_deviation_of_kaiming_fan_out() -> None:
    weight = ResNet(18, base_channels=32).layer3[0].conv2.weight.numpy()
    assert weight.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)


@pytest.mark.parametrize("stages", [-1, 0, 1, 3, 4])
def test_frozen_stages_do_not_train_and_statistics_never_do(stages: int) -> None:
    backbone = ResNet(18, base_channels=8, frozen_stages=stages)
    frozen = ("conv1.", "bn1.") if stages >= 0 else ()
    frozen += tuple(f"layer{stage}." for stage in range(1, stages + 1))
    for name, value in backbone.named_parameters():
        expected = name.startswith(frozen) or "running" in name
        assert value.is_stop_grad() == expected, name


@pytest.mark.parametrize("stages", [-1, 0, 1, 3, 4])
def test_the_maps_of_frozen_stages_have_no_gradient_so_nothing_is_kept_for_it(stages: int) -> None:
    backbone = ResNet(18, base_channels=8, frozen_stages=stages)
    maps = backbone(jt.zeros((1, 3, 64, 64)).stop_grad())
    assert [one.is_stop_grad() for one in maps] == [stage <= stages for stage in range(1, 5)]


def test_the_running_statistics_normalise_and_are_not_updated() -> None:
    norm = ResNet(18, base_channels=8).bn1
    mean, variance = np.linspace(-1, 1, 8, dtype=np.float32), np.linspace(0.5, 2, 8, dtype=np.float32)
    norm.running_mean.assign(var(mean))
    norm.running_var.assign(var(variance))
    x = np.random.default_rng(0).standard_normal((2, 8, 4, 4)).astype(np.float32)
    expected = (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
    np.testing.assert_allclose(norm(var(x)).numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(norm.running_mean.numpy(), mean)
    np.testing.assert_array_equal(norm.running_var.numpy(), variance)
