"""The writer: PyTorch reads every dtype and shape back, in its strictest ways of reading."""

import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainer.weights.formats import file, torch_writer

READ_IN_TORCH = """
import sys, numpy as np, torch
document = torch.load(sys.argv[1], weights_only=True)
mapped = torch.load(sys.argv[1], weights_only=True, mmap=True)
assert list(document) == ["state_dict"] and type(document["state_dict"]).__name__ == "OrderedDict"
for name, tensor in document["state_dict"].items():
    assert tensor.is_contiguous() and torch.equal(tensor, mapped["state_dict"][name]), name
    assert tensor.numel() == 0 or mapped["state_dict"][name].data_ptr() % 64 == 0, name
np.savez(sys.argv[2], **{name: tensor.numpy() for name, tensor in document["state_dict"].items()})
"""


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    dtypes = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    arrays = {f"dtype.{dtype}": (rng.standard_normal((3, 5)) * 9).astype(dtype) for dtype in dtypes}
    arrays["turned"] = rng.standard_normal((4, 6)).astype(np.float32).T
    arrays["scalar"], arrays["empty"] = np.array(2.5, np.float32), np.zeros((0, 3), np.float32)
    arrays["größe.weight"] = np.ones((2, 1, 3, 3), np.float32)
    return arrays


@pytest.mark.slow
def test_pytorch_reads_every_dtype_and_shape_back(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    (tmp_path / "a.pth").write_bytes(torch_writer.dumps(arrays))
    subprocess.run(
        [sys.executable, "-W", "error", "-c", READ_IN_TORCH, tmp_path / "a.pth", tmp_path / "b.npz"], check=True
    )
    with np.load(tmp_path / "b.npz") as read:
        assert read.files == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array, err_msg=name, strict=True)


def test_the_reader_reads_what_the_writer_wrote(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    (tmp_path / "a.pth").write_bytes(torch_writer.dumps(arrays))
    for name, array in file.read(tmp_path / "a.pth").items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name, strict=True)


def test_the_same_weights_make_the_same_bytes_in_an_intact_archive(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    content = torch_writer.dumps(arrays)
    assert content == torch_writer.dumps(arrays)
    (tmp_path / "a.pth").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("value", [0, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1])
def test_a_number_of_elements_is_written_whole_however_large(value: int) -> None:
    assert pickle.loads(torch_writer._integer(value) + b".") == value
