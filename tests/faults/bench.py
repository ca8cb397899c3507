"""Where the matrix is run: a piece of ground that is laid out anew for every run, the programs in their nests, a data
server that outlives the trainers, and the judgement of what a run has left."""

from __future__ import annotations

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
from tests.faults.disk import Disk, Fault, Point, points
from tests.faults.nests import Nest
from tests.faults.whole import damage

SILENT_SECONDS = 90.0  # in which no process of a run used the processor: it hangs
MOST_SECONDS = 900.0
# Kinds of files that are the same, byte for byte, whenever and however often a command is given.
SAME = (".safetensors", ".npz", ".npy", ".pkl", ".pth", ".jpg", ".json")
CHANGES = ("state.json",)  # has seconds
_ERROR = re.compile(r"^(?:\[trainer [\d:]+\] )?error: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Scenario:
    """A command on tiny inputs.

    Attributes:
        command: what follows ``python -m PROGRAM``, with {ground} for the folder where it works and {server} for the
            address of a running data server.
        again: more of it, where the command is given a second time.
        alone: faults meet the command's own process, not those that it starts, which are commands themselves.
    """

    name: str
    program: str
    command: str
    again: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code (None: it hung, and was ended), what it wrote to standard error."""

    process: int
    code: int | None
    errors: str


@dataclass
class Judgement:
    """One run with a fault; `wrong` has a line for each thing that should not be."""

    scenario: Scenario
    point: Point
    fault: Fault
    fired: bool
    outcome: Outcome
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"{self.scenario.name}: {self.fault.name} at {self.point}: code {self.outcome.code}"
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
        self._known: dict[str, tuple[list[Point], dict[Path, str]]] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for nest in self._nests.values():
            nest.close()
        if self._server is not None:
            self._server.stop()

    def points(self, scenario: Scenario) -> list[Point]:
        """Of an undisturbed run, which must end well and leave whole files, each of which it was seen to write."""
        return self._undisturbed(scenario)[0]

    def judge(self, scenario: Scenario, point: Point, fault: Fault) -> Judgement:
        """Runs the scenario with the fault, and once more without it."""
        _, results = self._undisturbed(scenario)
        self._renew()
        outcome = self._run(scenario, scenario.command, (point, fault))
        judgement = Judgement(scenario, point, fault, self.disk.fired, outcome)
        wrong = judgement.wrong
        killed = fault.number == 0
        wrong += self._broken(outcome)
        if outcome.code == 2:
            wrong += self._unclear(outcome.errors, scenario)
        elif outcome.code not in ((0, -9) if killed else (0,)):
            wrong.append(f"exit code {outcome.code}")
        wrong += self._damages(killed)
        if not killed and not fault.stays and point.operation != "unlink":
            wrong += [f"left behind: {path}" for path in self._scratch()]
        if outcome.code != 0:
            last = self._run(scenario, scenario.command + scenario.again)
            wrong += [f"the second time: {line}" for line in self._broken(last)]
            if last.code != 0:
                wrong.append(f"the second time: exit code {last.code}: {last.errors[-600:]}")
            wrong += [f"the second time: {line}" for line in self._damages(killed)]
        for path, digest in results.items():
            if self._digests().get(path) != digest:
                wrong.append(f"not the file of an undisturbed run: {path}")
        return judgement

    def _undisturbed(self, scenario: Scenario) -> tuple[list[Point], dict[Path, str]]:
        if scenario.name not in self._known:
            for _ in range(2):  # the first compiles kernels, which no run after it does: those files are no points
                self._renew()
                before = self._digests(all_kinds=True)
                outcome = self._run(scenario, scenario.command)
                assert outcome.code == 0, outcome.errors
            noted = {Path(path).name for _, path in self.disk.calls()}  # their folders may have been moved
            changed = [path for path, digest in self._digests(True).items() if before.get(path) != digest]
            unseen = [str(path) for path in changed if path.name not in noted]
            assert not unseen, f"written without a call that was noted: {unseen}"
            damaged = self._damages(killed=False)
            assert not damaged, damaged
            own = self.disk.calls(outcome.process if scenario.alone else 0)
            self._known[scenario.name] = points(own), self._digests()
        return self._known[scenario.name]

    def _run(self, scenario: Scenario, command: str, fault: tuple[Point, Fault] | None = None) -> Outcome:
        server = self._address() if "{server}" in command else ""
        nest = self._nest(scenario.program)
        process = nest.start(command.format(ground=self.ground, server=server).split())
        self.disk.listen(process.pid if scenario.alone else 0)
        if fault is not None:
            self.disk.arm(*fault)
        nest.go()
        hung = not self._ends(nest, process)
        if hung:
            for one in [*process.children(recursive=True), process]:
                one.kill()
        code, errors = nest.end()
        return Outcome(process.pid, None if hung else code, errors)

    def _ends(self, nest: Nest, process: psutil.Process) -> bool:
        """Waits for the end of a run; False when nothing moves in it any more."""
        begun = moved = time.monotonic()
        known = -1.0
        while not nest.has_ended(1.0):
            now, used = time.monotonic(), _processor_seconds(process, self._server)
            if used != known:
                known, moved = used, now
            if now - moved > SILENT_SECONDS or now - begun > MOST_SECONDS:
                return False
        return True

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


def _processor_seconds(process: psutil.Process, server: Cluster | None) -> float:
    """Of a run and the data server, with all that they have started."""
    try:
        processes = [process, *process.children(recursive=True), *(server.processes() if server else ())]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for one in processes:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
