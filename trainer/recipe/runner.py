"""Runs a recipe's steps, each in a process of its own, and skips those whose results are there.

A step's process dies with this one. A kill of either leaves an entry that says RUNNING: the next start runs the same
command again, and the task itself continues from what it finds (``--resume``).

    entry RUNNING ──► what is there is put aside, removed ──► new folder with FINGERPRINT_FILE ──► config, process

A folder is what its fingerprint says, not what the entry says: a kill may have come between the two.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from pprint import pformat

from shared.errors import UserError
from shared.files import save
from shared.lifetime import die_with_parent
from shared.terminal import LOG
from shared.train_loop import TrainLoop
from trainer import tasks
from trainer.evaluation.results import RESULTS_FILE
from trainer.process.interrupt import Interrupt
from trainer.recipe.fingerprints import digest, fingerprint
from trainer.recipe.progress import overview, remaining
from trainer.recipe.state import DONE, RUNNING, Entry, State
from trainer.recipe.steps import Recipe, Step, resolved
from trainer.training.log import LOG_FILE, METRICS_FILE
from trainer.training.onlooker import BATCH_FILE, WANTED_FILE
from trainer.vocabulary.calibration import CALIBRATION_FILE

CONFIG_FILE = "config.py"
FINGERPRINT_FILE = ".fingerprint"
_POLL_SECONDS = 0.1
# What a task leaves beside its results, which differs from run to run: times, events, pictures, who has looked at it.
_NO_RESULTS = (
    *(METRICS_FILE, LOG_FILE, "curves.png", "last_checkpoint", "tensorboard/*", "step_*", "*.partial"),
    *(CONFIG_FILE, FINGERPRINT_FILE, WANTED_FILE, BATCH_FILE),
)


class StepFailed(Exception):
    """The process of a step ended without its results; `code` is its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Runner:
    """One start of a recipe.

    Args:
        server_options: words for every step that needs a data server, such as ``--workers 2``.
    """

    def __init__(
        self,
        recipe: Recipe,
        work_dir: Path,
        server_options: list[str],
        say: Callable[[str], None],
        interrupt: Interrupt,
    ) -> None:
        self.recipe, self.work_dir, self.server_options = recipe, work_dir, server_options
        self.say, self.interrupt = say, interrupt
        self.state = State(work_dir, str(recipe.path))

    def run(self) -> bool:
        """Runs what is to be run; returns whether all of it is done (a signal may have come in between).

        Raises:
            UserError: a folder in the way that is not this recipe's, cannot be emptied or is a link; see `State`.
            StepFailed: a step ended with an error, which it has printed.
        """
        steps = self.recipe.steps
        self._check_folders()
        done = self._done()
        for line in overview(self.recipe, done):
            self.say(line)
        for number, step in enumerate(steps):
            place = f"step {number + 1} of {len(steps)}, {step.name}"
            # What looked outdated at the start is not, where a step that it needs has come to the same results again.
            if step.name in done or self._is_done(step):
                self.say(f"{place}: done before, in {self.state.entries[step.name].seconds:.0f} s")
                continue
            time_left = remaining([one for one in steps[number:] if one.name not in done])
            if not self._run_step(step, place, time_left):
                return False
        return True

    def folder(self, name: str) -> Path:
        """The work dir of a step."""
        return self.work_dir / name

    def _check_folders(self) -> None:
        """Raises UserError for a step's folder that is a link: it would be resumed from and never be emptied."""
        for step in self.recipe.steps:
            folder = self.folder(step.name)
            if folder.is_symlink():
                raise UserError(
                    f"{folder} is a link; a step needs a folder of its own there: move the one that the link names to "
                    "its place, or make the whole --work-dir a link"
                )

    def _done(self) -> set[str]:
        """The steps whose results are there, as far as that is known before any other step has run."""
        done: set[str] = set()
        for step in self.recipe.steps:
            if done.issuperset(step.needs) and self._is_done(step):
                done.add(step.name)
        return done

    def _is_done(self, step: Step) -> bool:
        entry = self.state.entries.get(step.name)
        if entry is None or entry.state != DONE or entry.fingerprint != self._fingerprint(step):
            return False
        folder = self.folder(step.name)
        # A folder of an earlier version has no mark; the digests of its results are taken for one.
        if _mark_of(folder) not in (None, entry.fingerprint):
            return False
        return all((folder / name).is_file() and digest(folder / name) == mark for name, mark in entry.results.items())

    def _fingerprint(self, step: Step) -> str:
        """Of a step whose needs have run."""
        return fingerprint(step, {name: self.state.entries[name].results for name in step.needs})

    def _run_step(self, step: Step, place: str, time_left: str) -> bool:
        entry, mark = self.state.entries.get(step.name), self._fingerprint(step)
        folder = self.folder(step.name)
        if folder.exists() and entry is None:
            raise UserError(
                f"{folder} is in the way: it does not belong to this recipe; remove it, or choose another --work-dir"
            )
        command, again = self._command(step), True
        if entry is None or entry.state != RUNNING or entry.fingerprint != mark or not self._continues(folder, mark):
            again = False
            entry = Entry(RUNNING, mark, shlex.join(command))
            self.state.put(step.name, entry)
            self._renew(folder, mark)
        self._write_config(step, folder)
        self.say(f"{place}{time_left}: {'continues' if again else 'starts'}: {shlex.join(command)}")
        started = time.monotonic()
        code = self._wait(command, folder)
        entry.seconds += time.monotonic() - started
        if self.interrupt.signal is not None:
            self.state.put(step.name, entry)
            return False
        missing = [path for path in self._expected(step) if not (folder / path).is_file()]
        if code != 0 or missing:
            what = f"ended with code {code}" if code else f"left no {', '.join(missing)} in {folder}"
            raise StepFailed(f"{place} {what}; fix that, then the same command continues from here", code or 1)
        entry.state, entry.results = DONE, self._found(step)
        self.state.put(step.name, entry)
        self.say(f"{place}: done in {entry.seconds:.0f} s")
        return True

    def _continues(self, folder: Path, mark: str) -> bool:
        """Whether what a step's folder holds was made by the run of this fingerprint.

        Raises:
            UserError: that cannot be known.
        """
        found = _mark_of(folder)
        if found is None and folder.exists() and any(not path.match("*.partial") for path in folder.iterdir()):
            raise UserError(
                f"{folder} does not say what it was made from (no {FINGERPRINT_FILE}, as an earlier version left it); "
                f"remove it to start this step again, or write {mark} to that file to continue from what is there"
            )
        return found == mark

    def _renew(self, folder: Path, mark: str) -> None:
        """Makes a step's folder anew, empty but for its fingerprint. Raises UserError when what is there does not go
        away."""
        old = folder.with_name(f".{folder.name}.old")  # else a kill in the removal would leave part of a folder
        try:
            if old.exists():  # as a kill has left it
                shutil.rmtree(old)
            if folder.exists():
                folder.rename(old)
                shutil.rmtree(old)
        except OSError as error:
            raise UserError(
                f"cannot remove {folder}: {error.strerror} ({error.filename}); remove it and {old}, or choose another "
                "--work-dir"
            ) from None
        save(folder / FINGERPRINT_FILE, f"{mark}\n".encode())

    def _command(self, step: Step) -> list[str]:
        folder = self.folder(step.name)
        command = [sys.executable, "-m", "trainer", step.task, "--config", str(folder / CONFIG_FILE)]
        command += ["--work-dir", str(folder)]
        if tasks.load(step.task).NEEDS_SERVER:
            command += self.server_options
        command += step.arguments
        if step.task == "train":
            command.append("--resume")  # where nothing is saved yet, it starts from the beginning
        elif step.weights:
            command += ["--checkpoint", str(self._weights(step.weights))]
        return command

    def _write_config(self, step: Step, folder: Path) -> None:
        """The step's whole config, as its process is going to load it."""
        content = resolved(step.config.to_dict(), self.work_dir, step.needs)
        if step.task == "train" and step.weights:
            content["load_from"] = str(self._weights(step.weights))
        # Config.dump would write the same, but takes seconds to decide where to break its lines
        lines = (f"{key} = {pformat(value, width=120, sort_dicts=False)}\n" for key, value in content.items())
        save(folder / CONFIG_FILE, "".join(lines).encode())

    def _weights(self, name: str) -> Path:
        step = next(step for step in self.recipe.steps if step.name == name)
        return self.folder(name) / final_checkpoint(step)

    def _wait(self, command: list[str], folder: Path) -> int:
        """Runs a step's command to its end, passes signals on to it, and returns its exit code."""
        parent = os.getpid()
        with self.interrupt.deferred():
            process = subprocess.Popen(
                command,
                env={**os.environ, LOG: str((folder / LOG_FILE).absolute())},
                start_new_session=True,  # Ctrl-C in the terminal reaches this process alone, which passes it on
                preexec_fn=lambda: die_with_parent(parent, signal.SIGKILL),
            )
            told = False
            while True:
                try:
                    return process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    if self.interrupt.signal is not None and not told:
                        process.send_signal(self.interrupt.signal)
                        told = True

    def _expected(self, step: Step) -> list[str]:
        """Files without which the step has not reached its end."""
        return {
            "train": [final_checkpoint(step)],
            "evaluate": [RESULTS_FILE],
            "calibrate": [CALIBRATION_FILE],
        }.get(step.task, [])

    def _found(self, step: Step) -> dict[str, str]:
        """Digests of the files that later steps, or the user, may read."""
        folder = self.folder(step.name)
        names = self._expected(step) or [
            str(path.relative_to(folder))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not any(path.relative_to(folder).match(pattern) for pattern in _NO_RESULTS)
        ]
        return {name: digest(folder / name) for name in names}


def _mark_of(folder: Path) -> str | None:
    """The fingerprint that a folder carries; None where it carries none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return (folder / FINGERPRINT_FILE).read_text(encoding="utf-8", errors="replace").strip()
    return None


def final_checkpoint(step: Step) -> str:
    """The name of the file that a train step ends with."""
    return TrainLoop.of(step.config.get("train_cfg") or {}).last_checkpoint
