"""The batches of an open stream: what is in each, which worker makes it, which one the trainer is given next.

    plan ──assign──► a worker ──wrote──► ready ──lease──► the trainer
     ▲                  │
     └──worker_died─────┘    again, that sample first; without it, if `blame` finds it to be poison

It keeps the books of a stream that has its memory, whether a trainer reads it or not. Nothing here touches a process or
a socket, and the ledger decides about slots. It goes through all of them to answer, and with many workers there are
many; so it is asked only where the answer may be yes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from data_server.handover.facts import DatasetFacts
from data_server.machine.memory import MemoryPlan
from data_server.serving.blame import MAX_KILLS, Death, Suspects
from data_server.serving.ledger import Assignment, Ledger, SlotState
from data_server.serving.plan import BatchPlan, Plan
from shared.arena import create_memory, in_hand, slot_bytes_for
from shared.data_part import from_plain
from shared.errors import UserError
from shared.messages import Assign, Batch, Facts, Hello, Welcome, Wrote

MAX_MOVES = 100
_SPARE_SLOTS = 1


@dataclass(frozen=True)
class Poison:
    """A sample that kills workers: the one at `place`, counted from 1, of the batch of `step`; `index` in the data set,
    loaded from the file `image`."""

    step: int
    place: int
    index: int
    image: str


class Batches:
    """All batches of one stream, from the cursor on that its trainer would resume from.

    Attributes:
        memory: descriptor of the arena; closed by the one that ends the stream.
        resume_at: the step at which the trainer would continue if it were killed now.
    """

    def __init__(self, plan: Plan, ledger: Ledger, welcome: Welcome, memory_plan: MemoryPlan, memory: int) -> None:
        self.ledger = ledger
        self.welcome = welcome
        self.memory_plan = memory_plan
        self.memory = memory
        self.resume_at = ledger.next_delivery
        self._plan = plan
        self._idle: list[int] = []
        self._recipes: dict[int, BatchPlan] = {}  # slot -> what its worker was sent, from WRITING on
        self._written: dict[int, Wrote] = {}  # step -> what its worker said, while READY
        self._suspects = Suspects()

    @classmethod
    def of(
        cls,
        hello: Hello,
        facts: Facts,
        dataset: DatasetFacts,
        workers: int,
        make_room: Callable[[], bool],
        planned: Callable[[], object],
        far: tuple[int, int] = (0, 0),
    ) -> Batches:
        """Those that the trainer of `hello` asks for.

        Args:
            facts, dataset: what the nursery reported about its data set.
            make_room: frees memory; returns whether it could.
            planned: is called by another thread when there is more to `assign` because more has been planned.
            far: workers on other hosts that there are by now, and as many as may come; there are slots for all of them
                where there is memory for that.

        Raises:
            UserError: this data set or this machine cannot provide them.
        """
        config = from_plain(hello.config)
        plan = Plan.of(config, dataset, hello.seed, hello.rank, hello.world_size, planned)
        wished = config["feed"]["slots"]
        slots = wished or workers + hello.credits + _SPARE_SLOTS
        if slots < hello.credits:
            raise UserError(f"config key 'feed.slots' is {slots}; expected feed.credits={hello.credits} or more")
        slot_bytes = slot_bytes_for(dataset.payload_bytes(config))
        memory_plan = MemoryPlan(slots, slot_bytes, facts.nursery_bytes, workers, facts.worker_bytes)
        memory_plan = memory_plan.with_far_workers(*far, slots_each=0 if wished else 1)
        memory = _allocated(memory_plan, make_room)
        welcome = Welcome(
            facts.classes,
            facts.images,
            facts.fingerprint,
            plan.steps_per_epoch,
            memory_plan.slots,
            slot_bytes,
            str(memory_plan),
        )
        end = plan.cursor(hello.epochs, 0) if hello.epochs else None
        ledger = Ledger(memory_plan.slots, plan.cursor(hello.epoch, hello.step), end, hello.credits)
        return cls(plan, ledger, welcome, memory_plan, memory)

    def checkpointed(self, epoch: int, step: int) -> None:
        """Everything before step `step` of `epoch` is in a checkpoint."""
        self.resume_at = self._plan.cursor(epoch, step)

    def rewind(self) -> None:
        """The trainer holds nothing any more; the next one begins at `resume_at`."""
        self.ledger.rewind(self.resume_at)
        ready = {entry.step for entry in self.ledger.slots if entry.state is SlotState.READY}
        self._written = {step: wrote for step, wrote in self._written.items() if step in ready}

    # The workers' side ------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return len(self._idle)

    def worker_idle(self, worker: int) -> None:
        self._idle.append(worker)

    def assign(self) -> tuple[int, Assign] | None:
        """An idle worker and what it is to make; None when there is no such worker, no free slot or no step left, and
        while that is still being planned."""
        if not self._idle or not self.ledger.count(SlotState.FREE):
            return None
        step = self.ledger.next_step
        if step is None or not self._is_planned(step):
            return None
        assignment = self.ledger.assign(self._idle[0])
        if assignment is None:
            return None
        batch = self._plan.batch(step)
        indices = self._suspects.indices(step, batch.indices, self.welcome.images)
        samples = [list(pair) for pair in zip(indices, batch.seeds, strict=True)]
        self._recipes[assignment.slot] = batch
        suspect = self._suspects.suspect(step)
        order = Assign(step, assignment.slot, assignment.generation, samples, suspect, batch.switched)
        return self._idle.pop(0), order

    def _is_planned(self, step: int) -> bool:
        """Has an epoch planned from the middle of the one before it on."""
        ready = self._plan.ready(step)
        ahead = step + self._plan.half_epoch
        if self.ledger.end_step is None or ahead < self.ledger.end_step:
            self._plan.ready(ahead)
        return ready

    def wrote(self, worker: int, message: Wrote) -> bool:
        """Returns whether the batch is wanted. Raises ProtocolError as `Ledger.wrote` does."""
        if not self.ledger.wrote(worker, message.slot, message.generation):
            return False
        self._suspects.cleared(message.step)
        self._written[self.ledger.slots[message.slot].step] = message
        return True

    def worker_died(self, worker: int) -> Assignment | None:
        """Returns what it was making, None when it was idle or the batch was no longer wanted."""
        if worker in self._idle:
            self._idle.remove(worker)
        return self.ledger.worker_died(worker)

    def blame(self, lost: Assignment, death: Death) -> Poison | None:
        """The sample over which the worker of `lost` died, if that proves it to be poison."""
        place, image = in_hand(self.memory, lost.slot, self.welcome.slot_bytes)
        if not self._suspects.blame(lost.step, place, death):
            return None
        planned = self._recipes[lost.slot].indices
        index = self._suspects.indices(lost.step, planned, self.welcome.images)[place - 1]
        return Poison(lost.step, place, index, image)

    def replace(self, poison: Poison) -> bool:
        """The next sample takes its place. Returns whether there have been too many in a row."""
        moves = self._suspects.replace(poison.step, poison.place)
        return moves == min(MAX_MOVES, self.welcome.images)

    def kills_too_many(self, step: int) -> bool:
        """Whether the batch of `step` has just killed as many workers as any may."""
        return self._suspects.kills(step) == MAX_KILLS

    # The trainer's side -----------------------------------------------------------------------------------------------

    def lease(self) -> Batch | None:
        """The next batch in step order, for the trainer; None when it is not ready or the trainer holds enough."""
        if self.ledger.next_delivery not in self._written:
            return None
        handout = self.ledger.lease()
        if handout is None:
            return None
        batch, wrote = self._recipes[handout.slot], self._written.pop(handout.step)
        return Batch(
            batch.epoch, handout.step, handout.slot, handout.generation, wrote.layout, wrote.digest, batch.valid
        )


def _allocated(plan: MemoryPlan, make_room: Callable[[], bool]) -> int:
    """The arena's memory. Raises UserError when there is too little."""
    try:
        plan.check()
        return create_memory(plan.slots, plan.slot_bytes)
    except (UserError, OSError) as error:
        if make_room():
            return _allocated(plan, make_room)
        if isinstance(error, OSError):
            raise UserError(f"too little memory: the plan is {plan}: {error.strerror}") from None
        raise
