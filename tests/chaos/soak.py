"""A thousand kills: kill -9 of everybody, at random, during a run that must not notice.

    draw a victim and a moment ──► kill -9 ──► what belongs to it starts again ──► mostly: wait for a batch ──► draw ...
         ▲                                                                                                  │
         └──────────────────────────────────────────────────────────────────────────────────────────────────┘

``python -m tests.chaos.soak --kills 1000 --seed 3`` prints a table and ends with code 1 if anything was wrong. The
trainer (`tests.chaos.reader`) reads a stream of some hundred steps, evaluates and begins again, in as many lives as it
needs; a killed server and a killed trainer are started again, workers and nurseries are the server's own to replace.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.lives import CHECKPOINT_EVERY, Trace, Trainer, Undisturbed, descriptors, undisturbed
from tests.cluster import PATIENCE, Cluster, wait_for
from tests.photos import TRAIN_PIPELINE, config_of, draw

# How often each is drawn. After the death of a server or of a root nursery torch is imported again: seconds.
VICTIMS = {"worker": 45, "stream nursery": 20, "trainer": 25, "root nursery": 5, "server": 5}
# After this many batches one has been made by those who came in place of the dead: a stream has five slots.
SETTLED = {"worker": 2, "trainer": 1, "stream nursery": 7, "root nursery": 7, "server": 7}
EPOCHS = 20
WORKERS = 2
PACE = 0.01
RECOVERY_SECONDS = 120.0 * PATIENCE
GONE_SECONDS = 2.0
# A second blow before the first one is overcome; never a third, for nurseries that never live end a stream by design.
BLOW_UPON_BLOW = 0.2


@dataclass
class Result:
    """What became of a run. Times in seconds."""

    kills: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    lives: int = 0
    passes: int = 0
    wrong: int = 0
    misplaced: int = 0
    tracebacks: int = 0
    left: int = 0
    shared_memory: set[str] = field(default_factory=set)
    descriptors_before: int = 0
    descriptors_after: int = 0
    batch_seconds: float = 0.0
    worker_delays: list[float] = field(default_factory=list)
    warm_starts: list[float] = field(default_factory=list)
    server_gone: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def flawless(self) -> bool:
        """Whether everything that must be 0 is; times are not judged."""
        faults = self.wrong + self.misplaced + self.tracebacks + self.left
        return not (faults or self.shared_memory or self.failures) and self.descriptors_after <= self.descriptors_before

    def __str__(self) -> str:
        rows = [(f"kill -9 of a {victim}", str(count)) for victim, count in sorted(self.kills.items())]
        rows += [
            ("kills in all", str(self.kills.total())),
            ("batches delivered", f"{self.steps} in {self.lives} lives of the trainer, {self.passes} whole streams"),
            ("wrong batches", str(self.wrong)),
            ("lost or repeated steps", str(self.misplaced)),
            ("streams that ended with an error", str(len(self.failures))),
            ("left in /dev/shm", f"{len(self.shared_memory)} files"),
            (f"processes left after {GONE_SECONDS:.0f} s", str(self.left)),
            ("tracebacks", str(self.tracebacks)),
            ("descriptors of the server", f"{self.descriptors_before} before, {self.descriptors_after} after"),
            ("time to make a batch", milliseconds([self.batch_seconds])),
            ("extra delay after a worker's death", milliseconds(self.worker_delays)),
            ("... its bound: a batch + 150 ms", milliseconds([self.batch_seconds + 0.15])),
            ("first batch after WELCOME, warm stream", milliseconds(self.warm_starts)),
            ("server's processes gone after its death", milliseconds(self.server_gone)),
        ]
        return "\n".join(
            f"{name:<42} {value}" for name, value in [*rows, *(("failed", text) for text in self.failures)]
        )


def milliseconds(times: list[float]) -> str:
    if not times:
        return "not measured"
    if len(times) == 1:
        return f"{times[0] * 1000:.0f} ms"
    ordered = sorted(times)
    shares = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}
    shown = [f"{name} {ordered[int(share * (len(ordered) - 1))] * 1000:.0f}" for name, share in shares.items()]
    return ", ".join([*shown, f"worst {ordered[-1] * 1000:.0f} ms ({len(times)} measured)"])


class Soak:
    """One run of it in `folder`, an empty one."""

    def __init__(self, folder: Path, kills: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._kills = kills
        self._folder = folder
        self._result = Result()
        self._strikes: list[tuple[str, float, bool]] = []  # victim, when, whether before the last blow was overcome
        self._unsettled = False
        self._whole: set[int] = set()  # lives, counted from 1, that ended by themselves

    def run(self) -> Result:
        photos = draw(self._folder / "set")
        slow = (*TRAIN_PIPELINE[:-1], {"type": "Slow"}, TRAIN_PIPELINE[-1])
        imports = {"imports": ["tests.data_server.transforms"]}
        config = config_of(photos, feed={"linger_seconds": 60}, pipeline=slow, custom_imports=imports)
        with Trace() as trace:
            self._cluster = Cluster()
            known = undisturbed(self._cluster, config, EPOCHS)
            wait_for(self._cluster.is_idle, GONE_SECONDS)
            self._result.descriptors_before = descriptors(self._cluster.server.pid)
            self._trainer = Trainer(self._folder / "trainer", config, known, pace=PACE, patience=RECOVERY_SECONDS)
            self._process = self._trainer.start(self._cluster.address.text)
            self._settle(1)
            for number in range(self._kills):
                self._strike(number)
            self._settle(SETTLED[self._strikes[-1][0]])
            self._finish()
            self._result.shared_memory = trace.left_in_shared_memory()
            self._result.left += len(trace.processes())
        self._judge(known)
        return self._result

    # Blows ------------------------------------------------------------------------------------------------------------

    def _strike(self, number: int) -> None:
        """Kills somebody, and starts again what nobody else would."""
        upon_blow = bool(self._strikes) and not self._strikes[-1][2] and self._random.random() < BLOW_UPON_BLOW
        if not upon_blow:
            self._settle(SETTLED[self._strikes[-1][0]] if self._strikes else 1)
        time.sleep(self._random.uniform(0, 0.15))
        names = list(VICTIMS)
        if number > 0.8 * self._kills:  # the server whose descriptors are counted has seen something
            names.remove("server")
        victim = self._random.choices(names, [VICTIMS[name] for name in names])[0]
        if not self._kill(victim):  # there is none at this moment
            victim = "trainer"
            self._kill(victim)
        self._result.kills[victim] += 1

    def _kill(self, victim: str) -> bool:
        """Whether there was one."""
        try:
            process = self._find(victim)
            if victim == "server":
                self._cluster.processes()
            struck = time.monotonic()
            process.send_signal(signal.SIGKILL)
        except (psutil.NoSuchProcess, IndexError, StopIteration):
            return False
        self._strikes.append((victim, struck, self._unsettled))
        self._unsettled = True
        if victim == "server":
            self._server_died()
        elif victim == "trainer":
            if self._process.wait() == -signal.SIGKILL:
                self._begin_life()
            else:
                self._end_of_life()
        return True

    def _find(self, victim: str) -> psutil.Process | subprocess.Popen:
        match victim:
            case "worker":
                return self._random.choice(self._cluster.workers())
            case "stream nursery":
                return self._random.choice(self._cluster.nurseries())
            case "root nursery":
                return self._cluster.root()
            case "server":
                return self._cluster.server
            case _:
                return self._process

    def _server_died(self) -> None:
        self._cluster.server.wait()
        died = time.monotonic()
        while self._cluster.survivors() and time.monotonic() < died + GONE_SECONDS:
            time.sleep(0.005)
        self._result.server_gone.append(time.monotonic() - died)
        self._result.left += len(self._cluster.survivors())
        self._cluster.start()

    def _settle(self, batches: int) -> None:
        """Waits until the trainer has been given so many more; starts it again where it has come to its end."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        wanted = self._trainer.batches + batches
        while self._trainer.batches < wanted:
            if self._process.poll() is not None:
                self._end_of_life()
                wanted = batches
            if time.monotonic() > deadline:
                raise TimeoutError(f"no batch for {RECOVERY_SECONDS:.0f} s; see {self._folder}")
            time.sleep(0.01)
        self._unsettled = False

    def _end_of_life(self) -> None:
        """A whole stream has been read, or something is wrong: the next one begins at its beginning."""
        if self._process.returncode != 0:
            self._result.failures.append(self._trainer.last_error() or f"exit code {self._process.returncode}")
        self._whole.add(len(self._trainer.lives))
        self._trainer.checkpoint.unlink(missing_ok=True)
        self._begin_life()

    def _begin_life(self) -> None:
        self._process = self._trainer.start(self._cluster.address.text)

    # The end ----------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Lets the trainer come to the end of its stream, and ends the server."""
        if self._process.wait(RECOVERY_SECONDS) != 0:
            self._result.failures.append(self._trainer.last_error())
        cluster, result = self._cluster, self._result
        before = result.descriptors_before
        deadline = time.monotonic() + GONE_SECONDS
        while not (cluster.is_idle() and descriptors(cluster.server.pid) <= before) and time.monotonic() < deadline:
            time.sleep(0.01)
        result.descriptors_after = descriptors(cluster.server.pid)
        self._log = cluster.log
        cluster.stop()

    def _judge(self, known: Undisturbed) -> None:
        """Compares all that was said with the undisturbed stream."""
        result, lives = self._result, self._trainer.lives
        result.lives = len(lives)
        result.tracebacks = (self._log + self._trainer.errors).count("Traceback")
        begin = 0
        for life, words in enumerate(lives, 1):
            next_step, allowed = None, checkpoints_of(begin)
            for word in words:
                if "opened" in word:
                    result.misplaced += (
                        word["opened"] != next_step if next_step is not None else (word["opened"] not in allowed)
                    )
                    next_step = word["opened"]
                elif "step" in word:
                    result.steps += 1
                    result.wrong += word["digest"] != known.digests[word["step"]]
                    result.misplaced += word["step"] != next_step
                    next_step = word["step"] + 1
                elif "metrics" in word:
                    result.wrong += word["metrics"] != known.metrics
                    result.passes += 1
            if life in self._whole:
                begin = 0
            elif next_step is not None:
                begin = next_step
        self._measure(lives)

    def _measure(self, lives: list[list[dict[str, Any]]]) -> None:
        """How long things took after blows that no other blow fell on."""
        result = self._result
        times = [[word["time"] for word in words if "step" in word] for words in lives]
        gaps = [after - before for life in times for before, after in pairwise(life)]
        usual = statistics.median(gaps)
        result.batch_seconds = WORKERS * usual
        for number, (victim, struck, upon_blow) in enumerate(self._strikes):
            quiet = self._strikes[number + 1][1] if number + 1 < len(self._strikes) else math.inf
            if victim != "worker" or upon_blow:
                continue
            for life in times:
                around = [gap for gap in pairwise(life) if gap[1] > struck and gap[0] < quiet and gap[1] < quiet]
                if around and life[0] < struck:
                    result.worker_delays.append(max(after - before for before, after in around) - usual)
        for words in lives:
            opened = next((word for word in words if "opened" in word), None)
            first = next((word for word in words if "step" in word), None)
            if opened is None or first is None or f"taken over by {opened['identity']}" not in self._log:
                continue
            before = [strike for strike in self._strikes if strike[1] < first["time"]]
            if before and before[-1][0] == "trainer" and not before[-1][2]:
                result.warm_starts.append(first["time"] - opened["welcome"])


def checkpoints_of(step: int) -> set[int]:
    """Where a trainer that was killed with `step` to come next goes on: at its last checkpoint, or the one before, when
    the kill came before it was written."""
    last = step - step % CHECKPOINT_EVERY
    return {last, max(0, last - CHECKPOINT_EVERY)}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        result = Soak(Path(folder), options.kills, options.seed).run()
    print(result)
    return 0 if result.flawless else 1


if __name__ == "__main__":
    sys.exit(main())
