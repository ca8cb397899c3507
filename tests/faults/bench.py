"""Where the matrix is run: a piece of ground that is laid out anew for every run, the programs in their nests, a data
server that outlives the trainers, and the judgement of what a run has left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cluster import Cluster
from tests.faults.cells import Cell, Scenario
from tests.faults.disk import Disk, Point, points
from tests.faults.nests import Nest
from tests.faults.whole import damage

SILENT_SECONDS = 90.0  # in which no process of a run used the processor: it hangs
MOST_SECONDS = 900.0
# Kinds of files that are the same, byte for byte, whenever and however often a command is given.
SAME = (".safetensors", ".npz", ".npy", ".pkl", ".pth", ".jpg", ".json")
CHANGES = ("state.json",)  # has seconds
_ERROR = re.compile(r"^(?:\[trainer [\d:]+\] )?error: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code (None: it hung, and was ended), what it wrote to standard error."""

    process: int
    code: int | None
    errors: str


@dataclass(frozen=True)
class Record:
    """An undisturbed run: where it can meet a fault, the digests of what it leaves, seconds of the processor."""

    points: list[Point]
    results: dict[Path, str]
    seconds: float


@dataclass
class Judgement:
    """A run with a fault, and one more without it.

    Attributes:
        fired: whether the call was made.
        wrong: a line for each thing that should not be.
        seconds: of the processor.
    """

    cell: Cell
    fired: bool
    outcome: Outcome
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        how = "" if self.fired else ", never made"
        head = f"{self.cell}{how}: code {self.outcome.code}, {self.seconds:.1f} s"
        return "\n".join([head, *(f"    {line}" for line in self.wrong)])


class Bench:
    """Use as a context manager.

    Args:
        folder: of its own.
        lay_out: fills the ground as every run finds it.
    """

    def __init__(self, folder: Path, lay_out: Callable[[Path], None]) -> None:
        self.ground, self._tmp, self._kept, self._folder = folder / "ground", folder / "tmp", folder / "kept", folder
        self._tmp.mkdir()
        self.ground.mkdir()
        lay_out(self.ground)
        shutil.copytree(self.ground, self._kept)
        self.disk = Disk(folder, self.ground, self._tmp)
        self._environment = {**self.disk.environment, "TMPDIR": str(self._tmp)}
        self._nests: dict[str, Nest] = {}
        self._server: Cluster | None = None
        self._known: dict[str, Record] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for nest in self._nests.values():
            nest.close()
        if self._server is not None:
            self._server.stop()

    def record(self, scenario: Scenario) -> Record:
        """Runs the scenario twice: the first run compiles kernels, which no later one does; those files are no
        points."""
        self._renew()
        outcome = self._run(scenario, scenario.command)
        assert outcome.code == 0, outcome.errors
        return self._undisturbed(scenario)

    def judge(self, cell: Cell) -> Judgement:
        """Runs a recorded scenario with the fault, and once more without it."""
        scenario, killed = cell.scenario, cell.fault.number == 0
        results = self._undisturbed(scenario).results
        self._renew()
        begun = self._processor_seconds()
        outcome = self._run(scenario, scenario.command, cell)
        judgement = Judgement(cell, self.disk.fired, outcome)
        wrong = judgement.wrong
        wrong += self._broken(outcome)
        if outcome.code == 2:
            wrong += self._unclear(outcome.errors, scenario)
        elif outcome.code not in ((0, -9) if killed else (0,)):
            wrong.append(f"exit code {outcome.code}")
        wrong += self._damages(killed)
        if not killed and not cell.fault.stays and cell.point.operation != "unlink":
            wrong += [f"left behind: {path}" for path in self._scratch()]
        if outcome.code != 0:
            last = self._run(scenario, scenario.command + scenario.again)
            wrong += [f"the second time: {line}" for line in self._broken(last)]
            if last.code != 0:
                wrong.append(f"the second time: exit code {last.code}: {last.errors[-600:]}")
            wrong += [f"the second time: {line}" for line in self._damages(killed)]
        found = self._digests()
        wrong += [
            f"not the file of an undisturbed run: {path}"
            for path, digest in results.items()
            if found.get(path) != digest
        ]
        if self._server is not None and self._server.server.poll() is not None:
            wrong.append("the data server has ended")
            self._server.start(1)
        judgement.seconds = self._processor_seconds() - begun
        return judgement

    def _undisturbed(self, scenario: Scenario) -> Record:
        if scenario.name not in self._known:
            self._renew()
            before, begun = self._digests(all_kinds=True), self._processor_seconds()
            outcome = self._run(scenario, scenario.command)
            assert outcome.code == 0, outcome.errors
            noted = {Path(path).name for _, path in self.disk.calls()}  # their folders may have been moved
            changed = [path for path, digest in self._digests(True).items() if before.get(path) != digest]
            unseen = [str(path) for path in changed if path.name not in noted]
            assert not unseen, f"written without a call that was noted: {unseen}"
            damaged = self._damages(killed=False)
            assert not damaged, damaged
            own = self.disk.calls(outcome.process if scenario.alone else 0)
            seconds = self._processor_seconds() - begun
            self._known[scenario.name] = Record(points(own), self._digests(), seconds)
        return self._known[scenario.name]

    def _run(self, scenario: Scenario, command: str, cell: Cell | None = None) -> Outcome:
        server = self._address() if "{server}" in command else ""
        nest = self._nest(scenario.program)
        process = nest.start(command.format(ground=self.ground, server=server).split())
        self.disk.listen(process.pid if scenario.alone else 0)
        if cell is not None:
            self.disk.arm(cell.point, cell.fault)
        nest.go()
        hung = not self._ends(nest)
        if hung:
            for one in [*process.children(recursive=True), process]:
                one.kill()
        code, errors = nest.end()
        return Outcome(process.pid, None if hung else code, errors)

    def _ends(self, nest: Nest) -> bool:
        """Waits for the end of a run; False when nothing moves in it any more."""
        begun = moved = time.monotonic()
        known = -1.0
        while not nest.has_ended(1.0):
            now, used = time.monotonic(), self._processor_seconds()
            if used != known:
                known, moved = used, now
            if now - moved > SILENT_SECONDS or now - begun > MOST_SECONDS:
                return False
        return True

    def _processor_seconds(self) -> float:
        """Of all that the bench has started, with what has ended, but for the server's own process, which ticks."""
        processes = [one for nest in self._nests.values() for one in nest.processes()]
        total = 0.0
        for one in [*processes, *(self._server.processes() if self._server else ())]:
            with contextlib.suppress(psutil.NoSuchProcess):
                used = one.cpu_times()
                total += used.user + used.system + used.children_user + used.children_system
        return total

    def _broken(self, outcome: Outcome) -> list[str]:
        if outcome.code is None:
            return [f"it hangs: {outcome.errors[-600:]}"]
        if "Traceback" in outcome.errors or "Exception ignored" in outcome.errors:
            return [f"a traceback: {outcome.errors[-1500:]}"]
        return []

    def _unclear(self, errors: str, scenario: Scenario) -> list[str]:
        found = _ERROR.findall(errors)
        if len(found) != 1 and not (scenario.alone and len(found) == 2):
            return [f"{len(found)} lines of errors: {errors[-600:]}"]
        if not any(str(root) in found[0] for root in self.disk.roots):
            return [f"no file is named: {found[0]}"]
        return []

    def _damages(self, killed: bool) -> list[str]:
        files = [path for path in self.ground.rglob("*") if path.is_file() and not self._is_scratch(path)]
        return [f"damaged: {what}" for path in files if (what := damage(path, killed)) is not None]

    def _scratch(self) -> list[Path]:
        return [path for root in self.disk.roots for path in root.rglob("*") if self._is_scratch(path)]

    def _is_scratch(self, path: Path) -> bool:
        """Whether it is what only a kill may leave: hidden files and folders, and all in TMPDIR."""
        if self._tmp in path.parents:
            return True
        names = path.relative_to(self.ground).parts
        return any(name.startswith(".") and name != ".fingerprint" for name in names)

    def _digests(self, all_kinds: bool = False) -> dict[Path, str]:
        return {
            path: hashlib.sha256(_content(path)).hexdigest()
            for path in self.ground.rglob("*")
            if path.is_file()
            and not self._is_scratch(path)
            and (all_kinds or (path.suffix in SAME and path.name not in CHANGES))
        }

    def _renew(self) -> None:
        for root in (self.ground, self._tmp):
            shutil.rmtree(root)
        shutil.copytree(self._kept, self.ground)
        self._tmp.mkdir()

    def _nest(self, program: str) -> Nest:
        if program not in self._nests:
            self._nests[program] = Nest(program, self._environment, self._folder)
        return self._nests[program]

    def _address(self) -> str:
        """Of the data server, which is started when it is needed first."""
        if self._server is None:
            named = tuple(f"{name}={value}" for name, value in self.disk.environment.items())
            self._server = Cluster(1, ("env", *named))
        return self._server.address.text


def _content(path: Path) -> bytes:
    """Of a file; of a safetensors file with its header in order, which its writer leaves to chance."""
    content = path.read_bytes()
    if path.suffix != ".safetensors":
        return content
    end = 8 + int.from_bytes(content[:8], "little")
    return json.dumps(json.loads(content[8:end]), sort_keys=True).encode() + content[end:]
