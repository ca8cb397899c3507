"""embed: UniDetector's 81 prompts, their plain mean through CLIP's own text tower, rows in the right order."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_server.__main__ import main
from data_server.commands.embed import PROMPTS, categories_of, names_of, prompts
from shared.embeddings import read_names, write_names
from shared.errors import UserError

ROOT = Path(__file__).parents[3]
# Of UniDetector's own list, sorted and joined by line ends.
PROMPTS_SHA256 = "78c1af1c03566ae61b81d222c96080e9a40d31e0f686445ed62bc6cc6e29f7f6"
TOLERANCE = 1e-5  # float32; the sentences are encoded one by one there and 81 at a time here

needs_open_clip = pytest.mark.skipif(
    importlib.util.find_spec("open_clip") is None, reason="open_clip is not installed: pip install -e '.[embed]'"
)


def python(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_prompts_are_unidetectors_81() -> None:
    assert len(PROMPTS) == len(set(PROMPTS)) == 81
    assert hashlib.sha256("\n".join(sorted(PROMPTS)).encode()).hexdigest() == PROMPTS_SHA256


def test_commas_go_plus_signs_become_spaces_and_the_rest_of_a_name_stays() -> None:
    assert "a photo of the Wine Glass (large)/mug_x y." in prompts("Wine, Glass (large)/mug_x+y")
    assert "a {0} in a video game." in prompts("{0}")


def test_a_text_file_of_windows_has_a_mark_in_front_that_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("zebra\r\nkočka\r\n".encode("utf-8-sig"))
    assert names_of(tmp_path / "names.txt") == ["zebra", "kočka"]


def test_names_come_a_line_each_and_categories_in_the_files_order(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("zebra \n\n  traffic light\nant\n")
    assert names_of(tmp_path / "names.txt") == ["zebra", "traffic light", "ant"]
    categories = [{"id": 9, "name": "a"}, {"id": 2, "name": "c"}, {"id": 4, "name": "b"}]
    (tmp_path / "a.json").write_text(json.dumps({"categories": categories}))
    assert categories_of(tmp_path / "a.json") == ["a", "c", "b"]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``small_clip.py`` fills."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "prompts.json").write_text(json.dumps({name: prompts(name) for name in ("red star", "traffic_light")}))
    done = python("-m", "tests.data_server.small_clip", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@needs_open_clip
@pytest.mark.parametrize("weights, prefix", [("clip.pth", ""), ("archive.pt", "half.")])
def test_a_row_is_the_mean_of_the_raw_text_features(
    clip_folder: Path, tmp_path: Path, weights: str, prefix: str
) -> None:
    (tmp_path / "names.txt").write_text("traffic_light\nred star\n")
    out = tmp_path / "new" / "rows.npy"
    done = python(
        *("-m", "data_server", "embed", "--names-file", tmp_path / "names.txt"),
        *("--clip", clip_folder / weights, "--out", out),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{out}: 2 names, 24 numbers each"
    rows = np.load(out)
    with np.load(clip_folder / "expected.npz") as expected:
        wanted = np.stack([expected[prefix + name] for name in ("traffic_light", "red star")])
    assert read_names(out) == ["traffic_light", "red star"]
    assert rows.dtype == np.float32 and rows.flags.c_contiguous
    np.testing.assert_allclose(rows, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.abs(wanted[0] - wanted[1]).max() > 100 * TOLERANCE


@pytest.mark.slow
@needs_open_clip
def test_a_file_without_a_clip_in_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n")
    (tmp_path / "noise.pt").write_bytes(bytes(1000))
    for file, says in [
        ("noise.pt", "expected OpenAI's archive (RN50.pt)"),
        ("nothing.pt", "no such file"),
        ("x" * 300, "no such file"),
    ]:
        arguments = ["--names-file", tmp_path / "names.txt", "--clip", tmp_path / file, "--out", tmp_path / "rows.npy"]
        done = python("-m", "data_server", "embed", *arguments)
        assert done.returncode == 2 and done.stderr.startswith(f"error: CLIP weights {tmp_path / file}: ")
        assert says in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "rows.npy").exists()


@pytest.mark.slow
def test_without_open_clip_the_user_is_told_what_to_install(tmp_path: Path) -> None:
    for name in ("names.txt", "a.pt"):
        (tmp_path / name).write_text("cat\n")
    script = "import sys; sys.modules['open_clip'] = None\nfrom data_server.__main__ import main\nsys.exit(main())"
    done = python(
        "-c", script, "embed", "--names-file", tmp_path / "names.txt", "--clip", tmp_path / "a.pt", "--out", "a.npy"
    )
    assert done.returncode == 2
    assert "open_clip cannot be imported" in done.stderr and "pip install 'unidetector-jittor[embed]'" in done.stderr


@pytest.mark.parametrize(
    "names, out, says",
    [
        (b"", "rows.npy", "no class names in it"),
        (b"cat\ndog\ncat", "rows.npy", "'cat' is listed twice"),
        (None, "rows.npy", "No such file"),
        (b"\xff\xfe", "rows.npy", "UnicodeDecodeError"),
        (b"cat", "rows.txt", "expected a name that ends in .npy"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, names: bytes | None, out: str, says: str
) -> None:
    if names is not None:
        (tmp_path / "names.txt").write_bytes(names)
    arguments = ["--names-file", str(tmp_path / "names.txt"), "--clip", "a.pt", "--out", str(tmp_path / out)]
    assert main(["embed", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.fixture
def published(tmp_path: Path) -> list[str]:
    """Two files of embeddings with names; 'cat' is in both."""
    for number, names in enumerate((["dog", "cat"], ["Kitchen  knife", "Cat", "mug"])):
        rows = np.arange(len(names) * 4, dtype=np.float16).reshape(-1, 4) + 100 * number
        np.save(tmp_path / f"e{number}.npy", rows)
        write_names(tmp_path / f"e{number}.npy", names)
    return [str(tmp_path / f"e{number}.npy") for number in range(2)]


def test_rows_of_the_same_names_are_taken_from_the_first_file_that_has_them(
    tmp_path: Path, published: list[str], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "names.txt").write_text("kitchen knife\ncat\nDog\n")
    out = tmp_path / "new" / "mine.npy"
    assert main(["embed", "--names-file", str(tmp_path / "names.txt"), "--rows-of", *published, "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == f"{out}: 3 names, 4 numbers each"
    assert np.load(out).tolist() == [[100, 101, 102, 103], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert np.load(out).dtype == np.float32 and read_names(out) == ["kitchen knife", "cat", "Dog"]


def test_names_without_a_row_are_all_told_with_the_nearest(
    tmp_path: Path, published: list[str], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "names.txt").write_text("mugs\ncat\nzebra\n")
    out = tmp_path / "mine.npy"
    assert main(["embed", "--names-file", str(tmp_path / "names.txt"), "--rows-of", *published, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "no row for 2 of 3 names: 'mugs' (did you mean 'mug'?), 'zebra'; make theirs with --clip RN50.pt" in error
    assert not out.exists()


def test_embeddings_without_names_or_of_another_length_give_no_rows(
    tmp_path: Path, published: list[str], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "names.txt").write_text("mug\n")
    np.save(tmp_path / "bare.npy", np.zeros((2, 4), np.float32))
    np.save(tmp_path / "long.npy", np.zeros((1, 5), np.float32))
    write_names(tmp_path / "long.npy", ["mug"])
    for name, says in [
        ("bare.npy", "no names for its 2 rows in"),
        ("long.npy", f"rows of 5 numbers, those of {published[0]}"),
    ]:
        arguments = ["--names-file", str(tmp_path / "names.txt"), "--out", str(tmp_path / "mine.npy")]
        assert main(["embed", *arguments, "--rows-of", published[0], str(tmp_path / name)]) == 2
        assert says in capsys.readouterr().err


def test_a_names_file_that_is_no_text_is_one_line_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"mug\n\xff\xfe")
    for name in ("names.txt", "none.txt"):
        says = rf"names {tmp_path}/{name}: .*expected a text file with one class name a line"
        with pytest.raises(UserError, match=says):
            names_of(tmp_path / name)
