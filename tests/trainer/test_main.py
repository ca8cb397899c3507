"""The trainer's command line: tasks, their options, what is refused; how a task is added."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.command_line import FAILED, FINDINGS
from tests.cluster import ROOT
from trainer import tasks
from trainer.__main__ import main, parse

CONFIG = ["--config", "configs/demo/cln.py"]


def test_without_a_task_it_trains() -> None:
    options, other = parse([*CONFIG, "--resume", "--workers", "3"]), parse(["train", *CONFIG, "--resume"])
    assert options.task == other.task == "train" and options.resume and other.resume
    assert options.workers == 3 and options.recipe is None


def test_an_option_has_the_same_meaning_with_every_task(tmp_path: Path) -> None:
    given = ["--checkpoint", "F", "--draw", "--score-threshold", "0.4", "--work-dir", str(tmp_path)]
    for task in (["evaluate"], ["propose"], ["detect", "--images", "a.jpg", "b.jpg"]):
        options = vars(parse([*task, *CONFIG, *given]))
        assert {"task": task[0], "checkpoint": "F", "draw": True, "score_threshold": 0.4}.items() <= options.items()
        assert options["work_dir"] == tmp_path


def test_the_former_way_to_name_a_task_works_with_a_line_of_notice(capsys) -> None:
    options = parse([*CONFIG, "--images", "a.jpg", "--task", "detect", "--names", "cat", "red star"])
    assert options == parse(["detect", *CONFIG, "--images", "a.jpg", "--names", "cat", "red star"])
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "notice: --task detect is now python -m trainer detect; the old form will go with the next version"
    ]
    assert parse([*CONFIG, "--task=train"]).task == "train"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--draw", *CONFIG], "--draw goes with detect and evaluate and propose, not with train"),
        (["describe", *CONFIG, "--score-threshold=0.5"], "--score-threshold goes with detect and evaluate and propose"),
        (["evaluate", *CONFIG, "--names", "cat"], "--names goes with detect, not with evaluate"),
        (["detect", *CONFIG, "--images", "a.jpg", "--chance"], "--chance goes with evaluate, not with detect"),
        (["doctor", *CONFIG], "--config goes with calibrate and"),
        (["train", *CONFIG, "--nonsense"], "unrecognized argument --nonsense"),
        (["export", *CONFIG], "the following arguments are required: --out"),
        (["detect", *CONFIG], "the following arguments are required: --images"),
        (["evaluate"], "the following arguments are required: --config"),
        (["evalate", *CONFIG], "no task 'evalate' (did you mean 'evaluate'?)"),
        ([*CONFIG, "--task", "evalate"], "no task 'evalate' (did you mean 'evaluate'?)"),
        (["--recipe", "R", "--draw"], "--recipe says what is done: --draw goes with --config"),
        (["--recipe", "R", "--task", "train"], "--recipe says what is done: --task goes with --config"),
        (["--recipe", "R", *CONFIG], "not allowed with argument"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said_in_its_last_line(arguments: list[str], says: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_device_without_memory_ends_a_task_with_one_line_and_code_1(monkeypatch, capfd) -> None:
    def run(_: object) -> int:
        raise RuntimeError("GPU memory is overflow, please reduce your batch_size or data size!")

    monkeypatch.setattr("trainer.__main__.run", run)
    assert main(["--config", "configs/demo/cln.py"]) == FAILED
    assert "error: the device's memory is used up (GPU memory is overflow" in capfd.readouterr().err


def test_help_lists_every_task_and_the_options_of_training(capsys) -> None:
    for arguments in ([], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            parse(arguments)
        assert ended.value.code == 0
        text = capsys.readouterr().out
        for name in tasks.names():
            assert f"\n  {name} " in text and tasks.summary(name) in text
        assert "--resume" in text and "--chance" not in text


@pytest.mark.parametrize(("arguments", "tells"), [([], True), (["train"], True), (["describe"], False)])
def test_help_lists_the_feed_keys_where_a_data_server_is_used(arguments: list[str], tells: bool, capsys) -> None:
    with pytest.raises(SystemExit):
        parse([*arguments, "--help"])
    assert ("\n  worker_memory " in capsys.readouterr().out) == tells


def test_reading_the_command_line_does_not_import_jittor() -> None:
    script = f"import sys; from trainer.__main__ import parse; parse({CONFIG}); print('jittor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


COUNT = '''"""Counts the keys of a config: the ones at its top.

This is the second paragraph.
"""

NEEDS_SERVER = False


def add_arguments(parser):
    parser.add_argument("--least", type=int, required=True)


def run(request):
    request.say(f"{len(request.config)} keys, at least {request.options.least}")
    return 0 if len(request.config) >= request.options.least else 3
'''


def test_a_task_starts_without_what_a_report_needs() -> None:
    script = "import sys, trainer.__main__; print(*(name for name in sys.modules if name.startswith('trainer.')))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "trainer.tasks" in imported and not [name for name in imported if name.startswith("trainer.recipe")]


def test_a_task_is_added_by_one_new_file(tmp_path: Path) -> None:
    (tmp_path / "count_keys.py").write_text(COUNT)

    def trainer(*arguments: str) -> subprocess.CompletedProcess:
        script = (
            f"import runpy, sys, trainer.tasks; trainer.tasks.__path__.append({str(tmp_path)!r}); "
            f"sys.argv[1:] = {list(arguments)}; runpy.run_module('trainer', run_name='__main__', alter_sys=True)"
        )
        return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=400)

    assert "\n  count-keys   Counts the keys of a config\n" in trainer("--help").stdout
    done = trainer("count-keys", *CONFIG, "--least", "2")
    assert done.returncode == 0 and "keys, at least 2" in done.stderr, done.stderr
    assert trainer("count-keys", *CONFIG, "--least", "1000").returncode == FINDINGS
    assert "required: --least" in trainer("count-keys", *CONFIG).stderr
