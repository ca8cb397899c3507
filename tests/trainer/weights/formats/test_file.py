"""Weight files: every number of every kind of file comes out, and a damaged or a wrong file is one clear line."""

import json
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from shared.errors import UserError
from trainer.weights.formats import file


def assert_holds(weights: dict[str, np.ndarray], expected: Path) -> None:
    with np.load(expected) as arrays:
        assert list(weights) == arrays.files
        for name, array in arrays.items():
            assert weights[name].dtype == array.dtype, name
            np.testing.assert_array_equal(weights[name], array, err_msg=name, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zip", "legacy", "parallel", "model", "mmengine", "runner", "runner_legacy"])
def test_every_tensor_of_a_pytorch_file_is_read(torch_files: Path, name: str) -> None:
    assert_holds(file.read(torch_files / f"{name}.pth"), torch_files / "expected.npz")


def test_whatever_lies_beside_the_weights_does_not_matter(torch_files: Path) -> None:
    files = sorted(torch_files.glob("beside*.pth"))
    assert len(files) > 15
    for path in files:
        assert_holds(file.read(path), torch_files / "expected.npz")


def test_a_torchscript_archive_is_read_under_its_state_dicts_names(torch_files: Path) -> None:
    assert_holds(file.read(torch_files / "script.pt"), torch_files / "block.npz")


def test_views_of_one_storage_share_its_memory(torch_files: Path) -> None:
    weights = file.read(torch_files / "zip.pth")
    assert np.shares_memory(weights["views.whole"], weights["views.part"])
    assert weights["views.expanded"].strides[1] == 0


OLD_HEAD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}."
OLD_TENSOR = b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\nFloatStorage\nU\x01kU\x03cpu"
OLD_KEYS = b"\x80\x02]U\x01ka."


def test_a_part_of_a_storage_is_read_as_files_of_pytorch_0_4_name_it(tmp_path: Path) -> None:
    part = b"K\n(U\x01vK\x04K\x03ttQK\x01K\x02\x85K\x01\x85tRs."  # numbers 4, 5, 6 of 10; of these all but the first
    numbers = np.arange(10, dtype="<f4")
    (tmp_path / "old.pth").write_bytes(
        OLD_HEAD + OLD_TENSOR + part + OLD_KEYS + struct.pack("<q", 10) + numbers.tobytes()
    )
    np.testing.assert_array_equal(file.read(tmp_path / "old.pth")["w"], [5, 6])


def test_an_old_file_that_is_cut_in_the_length_of_an_empty_storage_is_refused(tmp_path: Path) -> None:
    empty = b"K\x00NtQK\x00K\x00\x85K\x01\x85tRs."
    (tmp_path / "old.pth").write_bytes(OLD_HEAD + OLD_TENSOR + empty + OLD_KEYS + bytes(8))
    assert file.read(tmp_path / "old.pth")["w"].shape == (0,)
    (tmp_path / "old.pth").write_bytes(OLD_HEAD + OLD_TENSOR + empty + OLD_KEYS + bytes(5))
    with pytest.raises(UserError, match="cut short"):
        file.read(tmp_path / "old.pth")


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("ComplexDoubleStorage", 16),
        ("ComplexFloatStorage", 8),
        ("QInt32Storage", 4),
        ("QInt8Storage", 1),
        ("QUInt8Storage", 1),
        ("UntypedStorage", 1),
    ],
)
def test_numbers_that_are_no_weights_are_skipped_in_an_old_file(kind: str, size: int, tmp_path: Path) -> None:
    rest = b"NtQK\x00K\x03\x85K\x01\x85tR"
    other = b"ctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\n" + kind.encode() + b"\nU\x01aU\x03cpuK\x03" + rest
    own = b"U\x01o" + other + b"s" + OLD_TENSOR.removeprefix(b"\x80\x02}") + b"K\x03" + rest + b"s."
    keys = b"\x80\x02](U\x01aU\x01ke."
    contents = struct.pack("<q", 3) + b"\xff" * 3 * size + struct.pack("<q3f", 3, 1, 2, 3)
    (tmp_path / "old.pth").write_bytes(OLD_HEAD + b"\x80\x02}" + own + keys + contents)
    weights = file.read(tmp_path / "old.pth")
    assert list(weights) == ["w"]
    np.testing.assert_array_equal(weights["w"], [1, 2, 3])


def test_a_big_endian_file_is_read(tmp_path: Path, torch_files: Path) -> None:
    with zipfile.ZipFile(torch_files / "zip.pth") as source, zipfile.ZipFile(tmp_path / "big.pth", "w") as target:
        for member in source.namelist():
            target.writestr(member, b"big" if member.endswith("byteorder") else swapped(member, source.read(member)))
    weights = file.read(tmp_path / "big.pth")
    with np.load(torch_files / "expected.npz") as expected:
        for name in ("views.part", "parameter"):
            np.testing.assert_array_equal(weights[name], expected[name])
            assert weights[name].dtype.isnative


def swapped(member: str, content: bytes) -> bytes:
    """As another machine would have written it, taking all storages for float32."""
    if "/data/" not in member or len(content) % 4:
        return content
    return np.frombuffer(content, np.uint32).byteswap().tobytes()


def test_safetensors_are_read_with_bfloat16_as_float32(tmp_path: Path) -> None:
    tensors = {"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    header = json.dumps(tensors | {"b": {"dtype": "F64", "shape": [], "data_offsets": [4, 12]}}).encode()
    numbers = (np.array([1.5, -2], np.float32).view(np.uint32) >> 16).astype("<u2").tobytes() + struct.pack("<d", 3.25)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + numbers)
    weights = file.read(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(weights["a"], np.array([1.5, -2], np.float32), strict=True)
    np.testing.assert_array_equal(weights["b"], np.array(3.25), strict=True)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_safetensors_of_every_dtype_are_read(dtype: str, tmp_path: Path) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    save_file({"w": array}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(file.read(tmp_path / "a.safetensors")["w"], array, strict=True)


def test_the_files_name_does_not_matter(tmp_path: Path, torch_files: Path) -> None:
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "weights.pth")
    shutil.copy(torch_files / "legacy.pth", tmp_path / "weights.safetensors")
    assert list(file.read(tmp_path / "weights.pth")) == ["w"]
    assert_holds(file.read(tmp_path / "weights.safetensors"), torch_files / "expected.npz")


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "script.pt"])
def test_a_file_that_is_cut_anywhere_is_refused_in_one_line_that_names_it(
    tmp_path: Path, torch_files: Path, name: str
) -> None:
    content = (torch_files / name).read_bytes()
    for length in [*range(0, len(content) - 1, max(1, len(content) // 150)), len(content) - 1]:
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(UserError) as caught:
            file.read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_a_damaged_file_is_refused_or_read_but_never_breaks_the_reader(
    tmp_path: Path, torch_files: Path, name: str
) -> None:
    rng = np.random.default_rng(0)
    content = (torch_files / name).read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            file.read(tmp_path / name)
        except UserError as error:
            assert str(tmp_path / name) in str(error)


def test_changed_numbers_do_not_pass(tmp_path: Path, torch_files: Path) -> None:
    content = bytearray((torch_files / "zip.pth").read_bytes())
    with zipfile.ZipFile(torch_files / "zip.pth") as archive:
        member = archive.getinfo("zip/data/1")
    content[content.index(archive_bytes := b"zip/data/1", member.header_offset) + len(archive_bytes) + 80] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pth: cut short or damaged .*CRC"):
        file.read(tmp_path / "a.pth")


def repacked(torch_files: Path, target: Path, member: str, content: bytes | None, compression: int = 0) -> Path:
    """A copy of the zip file with one member replaced (or left out)."""
    with zipfile.ZipFile(torch_files / "zip.pth") as source, zipfile.ZipFile(target, "w", compression) as copy:
        for name in source.namelist():
            if name != f"zip/{member}" or content is not None:
                copy.writestr(name, source.read(name) if name != f"zip/{member}" else content)
    return target


def test_a_storage_that_is_short_missing_or_compressed_is_named(tmp_path: Path, torch_files: Path) -> None:
    with pytest.raises(UserError, match=r"storage '1' has 40 bytes, expected 12 × 4"):
        file.read(repacked(torch_files, tmp_path / "a.pth", "data/1", bytes(40)))
    with pytest.raises(UserError, match=r"member data/1 is missing"):
        file.read(repacked(torch_files, tmp_path / "a.pth", "data/1", None))
    with pytest.raises(UserError, match=r"is compressed"):
        file.read(repacked(torch_files, tmp_path / "a.pth", "data/1", bytes(48), zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("offset, shape, stride", [(0, 11, 1), (8, 3, 1), (0, 2, 10), (-1, 1, 1), (0, 1 << 62, 1)])
def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path, offset: int, shape: int, stride: int) -> None:
    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\ntQ"
        + number(offset)
        + (number(shape) + b"\x85")
        + (number(stride) + b"\x85")
        + b"\x89}tR"
    )
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}U\x01w" + tensor + b"s.")
        archive.writestr("a/data/0", bytes(40))
    with pytest.raises(UserError, match=r"tensor 'w': shape .* do not lie in a storage of 10 numbers"):
        file.read(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "neither a PyTorch file"),
        (b"<!DOCTYPE html><html>not found", "A download that failed often leaves a web page"),
        (b"\x89PNG\r\n\x1a\n0000000000000000", "neither a PyTorch file"),
    ],
)
def test_a_file_of_another_kind_is_named_for_what_it_is_not(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match=says):
        file.read(tmp_path / "weights.pth")


def test_zip_files_that_are_not_pytorchs_are_told_apart(tmp_path: Path) -> None:
    with open(tmp_path / "arrays.pth", "wb") as target:
        np.savez(target, a=np.ones(3))
    with pytest.raises(UserError, match=r"without PyTorch's data\.pkl; expected a file of torch\.save"):
        file.read(tmp_path / "arrays.pth")
    with zipfile.ZipFile(tmp_path / "old.pt", "w") as archive:
        archive.writestr("old/model.json", "{}")
    with pytest.raises(UserError, match=r"TorchScript files from before PyTorch 1\.4"):
        file.read(tmp_path / "old.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("nothing.pth", "x" * 300):
        with pytest.raises(UserError, match=rf"{name}: no such file"):
            file.read(tmp_path / name)
