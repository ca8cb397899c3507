"""Pickles: nothing of a file is executed, whatever it asks for, and what is refused is named."""

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from trainer.weights.formats import file, pickled

ROOT = Path(__file__).parents[4]
LEGACY_HEAD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}."

# Reads the file under an audit hook that sees every import, process, socket, file opened for writing and compilation.
READ_UNDER_AUDIT = """
import sys
sys.path.insert(0, sys.argv[1])
from shared.errors import UserError
from trainer.weights.formats import file
import pickletools, zipfile, encodings.utf_8, encodings.cp437, encodings.ascii, encodings.raw_unicode_escape
seen = []
def watch(event, arguments):
    if event in ("os.system", "subprocess.Popen", "exec", "compile", "import", "socket.connect", "os.remove",
                 "os.posix_spawn", "os.fork", "shutil.rmtree", "os.mkdir", "pickle.find_class") or (
                 event == "open" and str(arguments[1]) not in ("r", "rb", "None")):
        seen.append((event, str(arguments)[:80]))
sys.addaudithook(watch)
outcome = "read"
try:
    file.read(sys.argv[2])
except UserError as error:
    outcome = "refused: " + str(error)
audited = list(seen)
print(outcome)
print(audited)
"""


def calls(module: str, name: str, *arguments: str) -> bytes:
    """A pickle that calls module.name with text arguments."""
    return (
        b"\x80\x02"
        + f"c{module}\n{name}\n".encode()
        + b"("
        + b"".join(b"X" + struct.pack("<I", len(text)) + text.encode() for text in arguments)
        + b"tR."
    )


def as_zip(program: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", bytes(4))
        archive.writestr("a/code/__torch__.py", "import os; os.mkdir('executed')")
    return content.getvalue()


def as_legacy(program: bytes) -> bytes:
    return LEGACY_HEAD + program + b"\x80\x02]."


@pytest.mark.parametrize("wrap", [as_zip, as_legacy])
@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "mkdir"),
        ("posix", "system"),
        ("subprocess", "check_output"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "getattr"),
        ("pickle", "loads"),
        ("importlib", "import_module"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("operator", "attrgetter"),
        ("collections", "namedtuple"),
        ("numpy.testing._private.utils", "runstring"),
        ("trainer.weights.formats.pickled", "load"),
    ],
)
def test_a_malicious_pickle_is_refused_by_the_name_of_what_it_calls_and_executes_nothing(
    tmp_path: Path, module: str, name: str, wrap: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "a.pth").write_bytes(wrap(calls(module, name, str(tmp_path / "executed"))))
    with pytest.raises(UserError, match=rf"a\.pth: its pickle asks for {module}\.{name}, .*refused") as caught:
        file.read(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("wrap", [as_zip, as_legacy])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_audited_event_happens_while_a_malicious_file_is_read(
    tmp_path: Path, protocol: int, wrap: Callable[[bytes], bytes]
) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return exec, (f"import pathlib; pathlib.Path({str(tmp_path / 'executed')!r}).touch()",)

    (tmp_path / "a.pth").write_bytes(wrap(pickle.dumps({"state_dict": {"w": Payload()}}, protocol)))
    done = subprocess.run(
        [sys.executable, "-c", READ_UNDER_AUDIT, str(ROOT), str(tmp_path / "a.pth")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    outcome, events = done.stdout.splitlines()
    assert "asks for " in outcome and ".exec," in outcome
    assert events == "[]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth"]


def test_the_audit_would_have_seen_it(tmp_path: Path) -> None:
    """The same watch over Python's own reader: what the test above relies on."""
    (tmp_path / "a.pkl").write_bytes(calls("os", "mkdir", str(tmp_path / "executed")))
    script = READ_UNDER_AUDIT.replace("file.read(sys.argv[2])", "import pickle; pickle.load(open(sys.argv[2], 'rb'))")
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(tmp_path / "a.pkl")], capture_output=True, text=True, check=True
    )
    assert "pickle.find_class" in done.stdout and "os.mkdir" in done.stdout
    assert (tmp_path / "executed").exists()


def test_what_lies_beside_the_weights_is_neither_looked_up_nor_called() -> None:
    program = b"\x80\x02c__builtin__\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\nU\x06systemtR."
    value, _ = pickled.load(io.BytesIO(program), "a file")
    assert type(value) is pickled.LeftOut and not hasattr(value, "system")


@pytest.mark.parametrize(
    "what",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"cnumpy\nndarray\n",
        b"c__torch__.a\nB\n",
        b"ctorch\nFloatStorage\n",
    ],
)
@pytest.mark.parametrize("state", [b"}U\x08__call__Nsb", b"N}U\x09_functionNs\x86b", b"}U\x09_functionNsb"])
def test_a_pickle_cannot_change_what_the_next_one_gets(torch_files: Path, what: bytes, state: bytes) -> None:
    with pytest.raises(UserError, match="pickle is damaged"):
        pickled.load(io.BytesIO(b"\x80\x02" + what + state + b"."), "a file")
    assert len(file.read(torch_files / "zip.pth")) == 20


@pytest.mark.parametrize("slot", [b"r\xff\xff\xff\xff", b"p4294967295\n", b"q\xff"])
def test_a_pickle_cannot_reserve_memory_that_it_does_not_fill(slot: bytes) -> None:
    with pytest.raises(UserError, match="memory slot"):
        pickled.load(io.BytesIO(b"\x80\x02}" + slot + b"."), "a file")


def test_a_shape_without_numbers_costs_no_memory(tmp_path: Path) -> None:
    """An expanded tensor (stride 0) may claim any shape; it becomes a view."""
    tensor = (
        b"ctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ"
        b"K\x00J\x00\x00\x00\x70\x85K\x00\x85tR"
    )
    (tmp_path / "a.pth").write_bytes(as_zip(b"\x80\x02}U\x01w" + tensor + b"s."))
    weights = file.read(tmp_path / "a.pth")["w"]
    assert weights.shape == (0x70000000,) and np.asarray(weights).strides == (0,)


def test_a_whole_module_of_an_old_file_is_called_what_it_is(tmp_path: Path) -> None:
    module = b"(U\x06moduleU\x04NameU\x09source.pyU\x0aclass NametQ"
    (tmp_path / "a.pth").write_bytes(LEGACY_HEAD + b"\x80\x02}U\x05model" + module + b"s.\x80\x02].")
    with pytest.raises(UserError, match=r"its pickle asks for torch\.nn\.Module, which is no tensor; refused"):
        file.read(tmp_path / "a.pth")


def test_a_module_inside_itself_ends(tmp_path: Path) -> None:
    program = b"\x80\x02c__torch__\nM\n)\x81q\x00}U\x04selfh\x00sb."
    (tmp_path / "a.pt").write_bytes(as_zip(program))
    with pytest.raises(UserError, match="no weights in it"):
        file.read(tmp_path / "a.pt")


def test_a_whole_pickled_model_is_refused_with_what_to_do(torch_files: Path) -> None:
    with pytest.raises(UserError, match=r"asks for __main__\.Block, .*torch\.save\(model\.state_dict\(\), FILE\)"):
        file.read(torch_files / "whole_module.pth")


def test_files_without_weights_say_what_they_hold_instead(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(as_zip(pickle.dumps({"epoch": 3, "lr": 0.1}, 2)))
    with pytest.raises(
        UserError, match=r"no weights in it; expected tensors under 'state_dict' or 'model' .* found epoch, lr"
    ):
        file.read(tmp_path / "a.pth")


def test_numpy_arrays_in_place_of_tensors_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(as_zip(pickle.dumps({"model": {"conv.weight": np.ones(2)}}, 2)))
    with pytest.raises(UserError, match=r"conv\.weight are no PyTorch tensors"):
        file.read(tmp_path / "a.pth")
