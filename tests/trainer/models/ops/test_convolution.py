"""Convolutions and their gradients against Jittor's own, for what takes another way each; which algorithm cuDNN is told
to take."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.models.ops.cuda_sources import Recorded, record, run
from trainer.device import jt, nn, var
from trainer.device.mode import Mode
from trainer.models.ops import convolution
from trainer.models.ops.convolution import convolve

# inputs, outputs, kernel, stride: matrix products; blocks of 16 channels; other numbers of channels
GEOMETRIES = [(32, 48, 1, 1), (8, 6, 1, 1), (32, 48, 1, 2), (32, 48, 3, 1), (16, 32, 3, 2), (3, 20, 7, 2), (5, 7, 3, 1)]


@pytest.mark.parametrize(("inputs", "outputs", "size", "stride"), GEOMETRIES)
def test_values_and_gradients_are_those_of_jittors_convolution(
    inputs: int, outputs: int, size: int, stride: int
) -> None:
    generator = np.random.default_rng(0)
    x = var(generator.standard_normal((2, inputs, 13, 18)), "float32")
    weight = var(generator.standard_normal((outputs, inputs, size, size)), "float32")
    bias = var(generator.standard_normal(outputs), "float32")
    found = convolve(x, weight, bias, stride, size // 2)
    expected = nn.conv2d(x, weight, bias, stride, size // 2)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)
    cotangent = var(generator.standard_normal(found.shape), "float32")
    leaves = [x, weight, bias]
    gradients, others = (jt.grad((y * cotangent).sum(), leaves) for y in (found, expected))
    for gradient, other in zip(gradients, others, strict=True):
        other = other.numpy()
        np.testing.assert_allclose(gradient.numpy(), other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_a_frozen_input_gets_no_gradient_and_the_weight_the_same_one() -> None:
    generator = np.random.default_rng(0)
    image = generator.standard_normal((2, 16, 9, 9)).astype(np.float32)
    weight = var(generator.standard_normal((16, 16, 3, 3)), "float32")
    gradients = [
        jt.grad((convolve(x, weight, padding=1) ** 2).sum(), weight).numpy()
        for x in (var(image), var(image).stop_grad())
    ]
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("channels", [3, 5])
def test_a_map_of_other_channels_is_refused(channels: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"a convolution of {channels} channels is given a map of 4"):
        convolve(jt.zeros((1, 4, 8, 8)), jt.zeros((2, channels, size, size)), padding=size // 2)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_numbers_of_two_bytes_are_added_up_in_float32_and_rounded_once(dtype: str, size: int) -> None:
    generator = np.random.default_rng(0)
    leaves = [
        var(generator.standard_normal(shape), "float32").cast(dtype) for shape in ((2, 64, 5, 7), (6, 64, size, size))
    ]
    found = convolve(*leaves, padding=size // 2)
    wide = [leaf.float32() for leaf in leaves]
    expected = convolve(*wide, padding=size // 2)
    cotangent = var(generator.standard_normal(found.shape), "float32").cast(dtype)
    gradients = [found, *jt.grad((found * cotangent).sum(), leaves)]
    others = [expected, *jt.grad((expected * cotangent.float32()).sum(), wide)]
    for one, other in zip(gradients, others, strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one.float32().numpy(), other.cast(dtype).float32().numpy())


def recorded(monkeypatch: pytest.MonkeyPatch, mode: Mode | None = None) -> list[Recorded]:
    """What a GPU would be given for a convolution, and for its gradient."""
    generator = np.random.default_rng(0)

    def both() -> None:
        x, weight = (var(generator.standard_normal(shape), "float32") for shape in ((1, 40, 5, 7), (6, 40, 3, 3)))
        jt.grad((convolve(x, weight, padding=1) ** 2).sum(), [x, weight])

    monkeypatch.setattr(convolution, "chosen", lambda: mode or Mode())
    return record(convolution, both, monkeypatch)


def test_on_a_gpu_numbers_of_two_bytes_are_added_up_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, _ = recorded(monkeypatch)
    halves = [array.astype(np.float16) for array in forward.inputs]
    found = run(replace(forward, inputs=halves, dtypes=["float16"]), tmp_path)[0]
    expected = convolve(*(var(half) for half in halves), padding=1).numpy()
    assert found.dtype == expected.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-3)  # in another order


DIRECTIONS = ("Forward", "BackwardFilter", "BackwardData")


# They are those of cudnn_of_one_core.h.
@pytest.mark.parametrize(
    ("mode", "workspace", "algorithm"),
    [
        (Mode(), 0.02, 1),
        (Mode(), 0.005, 2),
        (Mode(), 0.0, 2),
        (Mode(by_stopwatch=True), 0.005, 4),
        (Mode(deterministic=True), 0.02, 1),
        (Mode(deterministic=True), 0.005, 3),
    ],
    ids=[
        "ranked first",
        "with less workspace",
        "with none",
        "by stopwatch",
        "deterministic",
        "with less workspace, too",
    ],
)
def test_the_first_algorithm_in_cudnns_ranking_is_taken_whose_workspace_fits_or_by_stopwatch_the_fastest(
    mode: Mode,
    workspace: float,
    algorithm: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for operator in recorded(monkeypatch, mode):
        run(replace(operator, data=operator.data | {"workspace": workspace}), tmp_path)
    assert capfd.readouterr().out.splitlines() == [f"{direction} {algorithm}" for direction in DIRECTIONS]
