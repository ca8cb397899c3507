"""Weight files made to keep their reader busy: work and memory stay within a multiple of the file's size.

Each is read in a process of its own that the system ends after some seconds of its work, and that has little memory:
a fork of one that has imported the reader, for which a file costs milliseconds.
"""

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each reads its file in a process of its own

ROOT = Path(__file__).parents[4]
CPU_SECONDS = 30
MEMORY_MB = 600

READER = f"""
import os, resource, sys, traceback
sys.path.insert(0, sys.argv[1])
from shared.errors import UserError
from trainer.weights.formats import file

def read(path):
    resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS}))
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ({MEMORY_MB} << 20),) * 2)
    try:
        return f"read {{len(file.read(path))}}"
    except UserError as error:
        return f"refused {{error}}"

for path in map(str.strip, sys.stdin):
    if not (child := os.fork()):
        with open(path + ".said", "w") as said:
            try:
                print(read(path), file=said)
            except BaseException:
                traceback.print_exc(file=said)
                said.flush()
                os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
LEGACY_HEAD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}."
NAME = b"ctorch._utils\n_rebuild_tensor_v2\n"


def twice(levels: int = 60, leaf: bytes = b")") -> bytes:
    """A tuple of twice a tuple of twice a tuple ...: 2^levels paths."""
    return leaf + b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(levels))


def deep(levels: int = 200_000) -> bytes:
    return b")" + b"\x85" * levels


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(kind: bytes = b"FloatStorage", key: bytes = text("0"), count: bytes = b"K\x01", view: bytes = b"") -> bytes:
    return b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + key + text("cpu") + count + view + b"tQ"


def tensor(
    of: bytes = b"", offset: bytes = b"K\x00", shape: bytes = b"K\x01\x85", strides: bytes = b"K\x01\x85"
) -> bytes:
    return NAME + b"(" + (of or storage()) + offset + shape + strides + b"\x89}tR"


def state_dict(*tensors: bytes) -> bytes:
    items = b"".join(text(f"w{place}") + one for place, one in enumerate(tensors))
    return b"\x80\x02}(" + items + b"u."


def module(levels: int, times: int) -> bytes:
    """A TorchScript module of `levels` levels, each of which has the next one under `times` names."""
    new = b"c__torch__\nM\n)\x81"
    parts = [new + b"}" + text("w") + tensor() + b"sb"]
    for level in range(levels):
        parts += [b"r" + struct.pack("<I", level) + b"0" + new + b"}("]
        parts += [text(f"m{place}") + b"j" + struct.pack("<I", level) for place in range(times)] + [b"ub"]
    return b"\x80\x02" + b"".join(parts) + b"."


def shared(content: bytes, use: bytes, times: int) -> bytes:
    """`content` kept as number 0, then used `times` times as the argument of something."""
    return b"\x80\x02" + content + b"q\x000](" + use * times + b"e."


def long_view(count: int) -> bytes:
    """Tensors over parts of one storage that overlap almost entirely, as files of PyTorch 0.4 could name them."""
    parts = (b"(" + text("v") + number(place) + number(400_000) + b"t" for place in range(count))
    return state_dict(*(tensor(storage(b"BFloat16Storage", count=number(500_000), view=part)) for part in parts))


PAIRS = b"](" + (text("k") + b"K\x01\x86") * 40_000 + b"e"
ITEMS = b"(" + b"".join(text(str(place)) + b"K\x01" for place in range(40_000)) + b"u"
LONG = b"\x8b" + struct.pack("<i", 500_000) + b"\x7f" * 500_000
ONE_HASH = [b"\x8a\x10" + (place * (2**61 - 1)).to_bytes(16, "little") + b"N" for place in range(60_000)]
PROGRAMS = {
    "a key of tuples": b"\x80\x02}" + twice() + b"K\x01s.",
    "two keys of tuples": b"\x80\x02}(" + (twice() + b"K\x01") * 2 + b"u.",
    "a deep key": b"\x80\x02}" + deep() + b"K\x01s.",
    "a shape of tuples": state_dict(tensor(shape=twice())),
    "strides of tuples": state_dict(tensor(strides=twice())),
    "an offset of tuples": state_dict(tensor(offset=twice())),
    "a deep shape": state_dict(tensor(shape=deep())),
    "a long shape": state_dict(tensor(shape=b"(" + b"K\x01" * 200_000 + b"t")),
    "a storage of tuples": state_dict(tensor(of=twice())),
    "a persistent id of tuples": state_dict(tensor(of=twice() + b"Q")),
    "a persistent id with tuples": state_dict(tensor(of=storage(key=twice()))),
    "a count of tuples": state_dict(tensor(of=storage(count=twice()))),
    "a view of tuples": state_dict(tensor(of=storage(view=twice(leaf=b"K\x01")))),
    "a name of tuples": b"\x80\x04" + twice() + twice() + b"\x93.",
    "a call of tuples": b"\x80\x02" + twice() + b")R.",
    "arguments of tuples": b"\x80\x02" + NAME + twice() + b"R.",
    "pairs of tuples": b"\x80\x02ccollections\nOrderedDict\n" + twice() + b"\x85R.",
    "a set of tuples": b"\x80\x04\x8f(" + twice() + b"\x90.",
    "only tuples": b"\x80\x02" + twice() + b".",
    "weights that are tuples": b"\x80\x02}" + text("state_dict") + b"}" + text("w") + twice() + b"ss.",
    "a path of 2^40 modules": module(40, 2),
    "a path of 9^9 modules": module(9, 9),
    "modules in modules": module(25_000, 1),
    "long names of modules": b"\x80\x02c__torch__\nM\n)\x81q\x00}" + text("n" * 500_000) + b"q\x01h\x00sb.",
    "pairs shared": shared(PAIRS, b"ccollections\nOrderedDict\nh\x00\x85R", 5_000),
    "arguments shared": shared(b"(" + b"K\x01" * 200_000 + b"t", NAME + b"h\x00R", 5_000),
    "a state shared": shared(b"}" + ITEMS, b"c__torch__\nM\n)\x81h\x00b", 5_000),
    "a long number as keys": b"\x80\x02}(" + LONG + b"q\x00N" + b"h\x00N" * 100_000 + b"u.",
    "keys of one hash": b"\x80\x02}(" + b"".join(ONE_HASH) + b"u.",
    "a number of millions of digits": b"L" + b"7" * 2_000_000 + b"L\n.",
    "a claim of 2^62 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
    "a claim of 2^31 bytes": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "a memory slot": b"\x80\x02}r\xff\xff\xff\xff.",
    "a storage of two types": state_dict(tensor(storage()), tensor(storage(b"IntStorage"))),
    "a storage of two sizes": state_dict(tensor(storage()), tensor(storage(b"ByteStorage"))),
    "views that overlap": long_view(4000),
    "marks": b"\x80\x02" + b"(" * 300_000 + b".",
}  # fmt: skip


def as_zip(program: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", bytes(1_000_000))
    return content.getvalue()


def as_legacy(program: bytes) -> bytes:
    return LEGACY_HEAD + program + b"\x80\x02]" + text("0") + b"a." + struct.pack("<q", 500_000) + bytes(1_000_000)


Outcome = Callable[[Path], str]


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    """What is said of a file by who reads it."""
    command = [sys.executable, "-c", READER, str(ROOT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        questions, answers = reader.stdin, reader.stdout

        def ask(path: Path) -> str:
            questions.write(f"{path}\n")
            questions.flush()
            code = int(answers.readline())
            said = path.with_name(f"{path.name}.said").read_text()
            assert code == 0 and len(said.splitlines()) == 1, (code, said[-500:])
            return said

        yield ask


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("wrap", [as_zip, as_legacy])
def test_a_small_file_costs_little(tmp_path: Path, outcome: Outcome, kind: str, wrap: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a.pth").write_bytes(wrap(PROGRAMS[kind]))
    said = outcome(tmp_path / "a.pth")
    assert len(said) < 10_000
    if kind not in ("views that overlap",):
        assert said.startswith("refused") and str(tmp_path / "a.pth") in said


@pytest.mark.parametrize("position", range(3))
def test_the_parts_of_an_older_file_cost_little_as_well(tmp_path: Path, outcome: Outcome, position: int) -> None:
    parts = [
        b"\x80\x02M\xe9\x03.",
        b"\x80\x02}.",
        b"\x80\x02" + state_dict(tensor())[2:],
        b"\x80\x02]" + text("0") + b"a.",
    ]
    parts[(0, 1, 3)[position]] = (
        b"\x80\x02" + (b"]" if position == 2 else b"") + twice() + (b"a." if position == 2 else b".")
    )
    (tmp_path / "a.pth").write_bytes(
        LEGACY_HEAD[: -len(b"\x80\x02M\xe9\x03.\x80\x02}.")] + b"".join(parts) + bytes(100)
    )
    assert outcome(tmp_path / "a.pth").startswith("refused")


def test_an_archive_whose_members_share_their_bytes_is_refused(tmp_path: Path, outcome: Outcome) -> None:
    """A zip bomb without compression: each member of the list lies where the first one does."""
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        names = [f"{place}" for place in range(4000)]
        archive.writestr("a/data.pkl", state_dict(*(tensor(storage(key=text(name))) for name in names)))
        archive.writestr("a/data/0", bytes(1_000_000))
        first = archive.getinfo("a/data/0")
        for name in names[1:]:
            twin = zipfile.ZipInfo(f"a/data/{name}")
            twin.header_offset, twin.file_size, twin.compress_size = (
                first.header_offset,
                first.file_size,
                first.file_size,
            )
            twin.CRC = first.CRC
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    assert "claim" in outcome(tmp_path / "a.pth")


@pytest.mark.parametrize("member", ["a/data.pkl", "a/data/0"])
def test_a_member_that_stands_there_twice_is_refused(tmp_path: Path, outcome: Outcome, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, content in (("a/data.pkl", state_dict(tensor())), ("a/data/0", bytes(4))):
            archive.writestr(name, content)
        archive.writestr(member, b"other")
    assert "(2 names)" in outcome(tmp_path / "a.pth")


def test_a_compressed_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, outcome: Outcome) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps("x" * (1 << 30), 4))
    assert "is compressed" in outcome(tmp_path / "a.pth")
