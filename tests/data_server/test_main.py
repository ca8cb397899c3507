"""``python -m data_server``: its commands are found by being there, and it says one thing one way."""

import json
import subprocess
import sys

import numpy as np
import pytest

from data_server import commands
from data_server.__main__ import main
from shared import modules
from tests.cluster import ROOT

NAMES = [name.replace("_", "-") for name in modules.names(commands)]


@pytest.fixture(scope="module")
def help_text() -> str:
    # To import the commands would bring torch or OpenCV in; to list them does not.
    script = (
        "import sys; from data_server.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted({'torch', 'mmdet', 'cv2', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == "[]", done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_in_the_help_text_with_one_sentence(help_text, name):
    (line,) = [line for line in help_text.splitlines() if line.startswith(f"  {name} ")]
    assert 20 < len(line) <= 120 and len(line.split()) > 3


@pytest.mark.slow
def test_every_command_has_help_of_its_own():
    script = (
        "import sys; from data_server.__main__ import main\n"
        "for name in sys.argv[1:]:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit as left: print('left with', left.code)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, *NAMES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    shown = [line.partition(" [-h]")[0] for line in done.stdout.splitlines() if line.startswith("usage: ")]
    assert shown == [f"usage: python -m data_server {name}" for name in NAMES], done.stderr
    assert done.stdout.count("left with 0") == len(NAMES)


def test_a_new_file_is_a_new_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "count_words.py").write_text(
        '"""Counts words. Nothing else."""\n'
        "def main(arguments):\n    print(len(arguments))\n    return 3 if arguments else None\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["count-words"]) == 0
    assert main(["count-words", "one", "two"]) == 3
    assert capsys.readouterr().out == "0\n2\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "  count-words     Counts words\n" in capsys.readouterr().out


def test_a_command_that_is_not_there_is_told_with_the_nearest(capsys):
    assert main(["chek", "--config", "c.py"]) == 2
    assert capsys.readouterr().err == (
        f"error: python -m data_server: unknown command 'chek' (did you mean 'check'?); known: {', '.join(NAMES)}\n"
    )


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        (["--listen", "ipc:///proc/version/feed"], "--metrics", "--prometheus"),
        (["embed", "--clip", "a.pt", "--out", "a.txt"], "--names", "--names-file"),
        (["names", "--embeddings", "none.npy"], "--names", "--names-file"),
    ],
)
def test_an_old_name_of_an_option_still_works_with_one_line_of_notice(command, old, new, tmp_path):
    (tmp_path / "names.txt").write_text("cup\n")
    value = "0" if old == "--metrics" else str(tmp_path / "names.txt")

    def run(option):
        words = [sys.executable, "-m", "data_server", *command, option, value]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    before, now = run(old), run(new)
    assert before.returncode == now.returncode == 2 and now.stderr.startswith("error: ")
    assert before.stderr == f"notice: {old} is now {new}; the old name will go with the next version\n{now.stderr}"


def test_no_command_sends_a_control_character_of_a_name_to_the_terminal(tmp_path, capsys):
    folder = tmp_path / "a\x1b[2J\x07"
    folder.mkdir()
    rows, annotations, names = folder / "3.npy", folder / "a.json", folder / "names.txt"
    np.save(rows, np.ones((3, 4), np.float32))
    names.write_text("cup\nlamp\nshoe\n")
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 9, "height": 9} for number in range(4)]
    categories = [{"id": number, "name": name} for number, name in enumerate(("cup", "lamp", "shoe"))]
    annotations.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    for command in (
        ("names", "--names-file", names, "--embeddings", rows),
        ("embed", "--annotations", annotations, "--rows-of", rows, "--out", folder / "new.npy"),
        ("category-info", "--annotations", annotations),
        ("subset", "--annotations", annotations, "--percent", "50"),
        ("subset", "--annotations", folder / "none.json", "--percent", "50"),
    ):
        main([str(word) for word in command])
        said = "".join(capsys.readouterr())
        assert r"a\x1b[2J\x07/" in said and said.replace("\n", "").isprintable(), command


REQUIRED = {
    "browse": "the following arguments are required: --config",
    "category-info": "the following arguments are required: --annotations",
    "check": "the following arguments are required: --config",
    "embed": "the following arguments are required: --out",
    "embed --out F": "one of the arguments --names-file --annotations is required",
    "embed --out F --names-file N": "one of the arguments",
    "names": "the following arguments are required: --embeddings",
    "names --embeddings F": "one of the arguments --names-file --annotations is required",
    "proposals": "the following arguments are required: --file, --annotations, --out",
    "replay": "the following arguments are required: --config, --step",
    "scenes": "the following arguments are required: --out",
    "subset": "the following arguments are required: --annotations, --percent",
}


def test_elastic_is_for_far_workers(tmp_path):
    words = [sys.executable, "-m", "data_server", "--elastic", "--listen", f"ipc://{tmp_path}/d"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (2, "error: --elastic is for far workers; expected --ray, too\n")


@pytest.mark.slow
def test_what_a_command_cannot_do_without_is_asked_for_by_its_name():
    script = (
        "import sys; from data_server.__main__ import main\n"
        "for line in sys.argv[1:]:\n"
        "    try: main(line.split())\n"
        "    except SystemExit as left: print(line, 'left with', left.code, file=sys.stderr)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, *REQUIRED]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
    for line, says in REQUIRED.items():
        before, _, said = said.partition(f"{line} left with 2\n")
        assert says in before, line
