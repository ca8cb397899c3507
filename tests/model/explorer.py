"""Every state that a ledger can be brought to: exhaustive search of a small stream, breadth first.

A `World` is a ledger and the truth about what it governs, kept apart from the ledger's own word: who is really writing
into which slot, what has really been written, what the client really reads and which step it expects. A worker that was
assigned a slot writes until it says that it has written or is dead, whatever the ledger thinks of its slot meanwhile.

    worker:  idle ──asks──► writing ──writes──► idle             either dies at any time, and is replaced
    client:  reading ──dies(saved)──► none ──attaches(cursor)──► reading ──receives, releases──► reading

A client's death rewinds the ledger to the cursor last saved, any one up to where the client was; the next client
attaches at any of these cursors, too. Deaths are limited in number; everything else happens in every order. Events
happen when the ledger hears of them. That is no restriction: a process that is dead, or has sent its message, uses its
slot no longer, so until the ledger hears of it, it errs on the safe side.

Looked at in every state: `World.check`, and `World.check_refusals`: no message is accepted, late or a lie, which the
truth does not cover. Looked at in the whole graph: every state that is not the end leads on, and no run without a death
goes in circles. In a finite graph, that leaves every run only one way to go: to the end.

The search is finite because steps and deaths are, and because a state's key counts generations backwards: a slot's own
generation is left out, and that of an assignment or lease is how many generations ago it was given. A ledger that only
raises generations by one and compares them for equality cannot tell two states with the same key apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from data_server.serving.ledger import Assignment, Ledger, ProtocolError, Slot, SlotState

_GENERATION = 100  # of every slot that is made from a key: any number that leaves room for earlier ones
_HELD = (SlotState.WRITING, SlotState.READY)


class Violation(Exception):
    """The ledger broke a promise; says which, and after which actions."""


class Action(NamedTuple):
    """The name of one of `World`'s methods and its arguments."""

    name: str
    arguments: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}{self.arguments}".replace(",)", ")")


@dataclass(frozen=True)
class Setting:
    """What is explored: a stream of the steps ``0 <= step < end_step``, and how many processes may die."""

    ledger: type[Ledger] = Ledger
    workers: int = 2
    slots: int = 3
    credits: int = 1
    end_step: int = 5
    deaths: int = 2

    def __str__(self) -> str:
        return (
            f"{self.workers} workers, {self.slots} slots, credits {self.credits}, {self.end_step} steps, "
            f"up to {self.deaths} deaths"
        )


@dataclass(frozen=True)
class Exploration:
    """How much was explored; transitions that change nothing are not counted."""

    states: int
    transitions: int

    def __str__(self) -> str:
        return f"{self.states} states, {self.transitions} transitions"


class World:
    """A ledger and the truth.

    Attributes:
        writing: what each worker writes; None for an idle one.
        written: the step whose batch is complete in each slot; None from the assignment until it has been written.
        reading: generation by slot of what the client has received and not released; None while there is no client.
        expected: the step that the client must receive next; without a client, the one that the last client expected.
        deaths: how many more processes may die.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.ledger = setting.ledger(setting.slots, 0, setting.end_step, setting.credits)
        self.writing: list[Assignment | None] = [None] * setting.workers
        self.written: list[int | None] = [None] * setting.slots
        self.reading: dict[int, int] | None = {}
        self.expected = 0
        self.deaths = setting.deaths

    def key(self) -> Hashable:
        """All that the future depends on."""
        slots, reading = self.ledger.slots, self.reading
        full = (SlotState.READY, SlotState.LEASED)
        return (
            tuple((slot.state, slot.step, slot.worker) for slot in slots),
            self.ledger.next_delivery,
            tuple(a and (a.step, a.slot, slots[a.slot].generation - a.generation) for a in self.writing),
            tuple(step if slot.state in full else None for step, slot in zip(self.written, slots, strict=True)),
            None
            if reading is None
            else tuple(sorted((slot, slots[slot].generation - reading[slot]) for slot in reading)),
            self.expected,
            self.deaths,
        )

    @classmethod
    def of(cls, setting: Setting, key: Hashable) -> World:
        """The world with this key."""
        world = cls(setting)
        slots, world.ledger.next_delivery, writing, written, reading, world.expected, world.deaths = key
        world.ledger.slots = [Slot(state, _GENERATION, step, worker) for state, step, worker in slots]
        world.writing = [a and Assignment(a[0], a[1], _GENERATION - a[2]) for a in writing]
        world.written = list(written)
        world.reading = None if reading is None else {slot: _GENERATION - age for slot, age in reading}
        return world

    # What can happen --------------------------------------------------------------------------------------------------

    def actions(self) -> Iterator[Action]:
        """All that can happen next, deaths excepted."""
        for worker, assignment in enumerate(self.writing):
            yield Action("asks" if assignment is None else "writes", (worker,))
        if self.reading is None:
            yield from (Action("attaches", (cursor,)) for cursor in range(self.expected + 1))
        else:
            yield Action("receives")
            yield from (Action("releases", (slot,)) for slot in self.reading)

    def dying(self) -> Iterator[Action]:
        """All deaths that can happen next."""
        if self.deaths:
            yield from (Action("worker_dies", (worker,)) for worker in range(len(self.writing)))
            if self.reading is not None:
                yield from (Action("client_dies", (saved,)) for saved in range(self.expected + 1))

    def asks(self, worker: int) -> None:
        generations = [slot.generation for slot in self.ledger.slots]
        assignment = self.ledger.assign(worker)
        if assignment is not None:
            if assignment.generation != generations[assignment.slot] + 1:
                raise Violation("an assignment does not raise the generation by one")
            self.writing[worker] = assignment
            self.written[assignment.slot] = None

    def writes(self, worker: int) -> None:
        assignment, self.writing[worker] = self.writing[worker], None
        self.written[assignment.slot] = assignment.step
        wanted = self.ledger.wrote(worker, assignment.slot, assignment.generation)
        if wanted is not (self.ledger.slots[assignment.slot].state is SlotState.READY):
            raise Violation("a batch is ready although not wanted, or the other way round")

    def worker_dies(self, worker: int) -> None:
        assignment, self.writing[worker] = self.writing[worker], None
        self.deaths -= 1
        if self.ledger.worker_died(worker) not in (assignment, None):
            raise Violation("a dead worker was doing something else")

    def receives(self) -> None:
        lease = self.ledger.lease()
        if lease is not None:
            if lease.step != self.expected or lease.step >= self.setting.end_step:
                raise Violation(f"step {lease.step} is delivered, step {self.expected} was expected")
            if self.written[lease.slot] != lease.step:
                raise Violation(f"step {lease.step} is delivered, but the slot does not hold it")
            if lease.slot in self.reading:
                raise Violation(f"slot {lease.slot} is leased twice")
            self.reading[lease.slot] = lease.generation
            self.expected += 1

    def releases(self, slot: int) -> None:
        self.ledger.release(slot, self.reading.pop(slot))

    def client_dies(self, saved: int) -> None:
        self.reading = None
        self.deaths -= 1
        self.ledger.rewind(saved)

    def attaches(self, cursor: int) -> None:
        self.reading = {}
        self.expected = cursor
        self.ledger.rewind(cursor)

    # What must be true ------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """All is delivered, and nobody uses anything."""
        return (
            self.reading == {}
            and self.expected == self.setting.end_step
            and all(slot.state is SlotState.FREE for slot in self.ledger.slots)
        )

    def check(self) -> None:
        """Raises Violation unless the ledger's word is the truth."""
        ledger, readers = self.ledger, list(self.reading or ())
        writers = [assignment.slot for assignment in self.writing if assignment is not None]
        if len(ledger.slots) != self.setting.slots:
            raise Violation("slots were lost or made")
        if len({*writers, *readers}) != len(writers) + len(readers):
            raise Violation("a slot has two users")
        if len(readers) > self.setting.credits:
            raise Violation("more leases than credits")
        for index, slot in enumerate(ledger.slots):
            if (slot.state in (SlotState.WRITING, SlotState.QUARANTINED)) is not (index in writers):
                raise Violation(f"slot {index} is {slot.state.value}, its writer says otherwise")
            if (slot.state is SlotState.LEASED) is not (index in readers):
                raise Violation(f"slot {index} is {slot.state.value}, its reader says otherwise")
            if slot.state is SlotState.READY and self.written[index] != slot.step:
                raise Violation(f"slot {index} is ready, but does not hold its step")
        held = [slot.step for slot in ledger.slots if slot.state in _HELD]
        if len(set(held)) != len(held) or not set(held) <= set(range(ledger.next_delivery, self._horizon)):
            raise Violation(f"the steps {held} are held, the next delivery is {ledger.next_delivery}")
        if self.reading is not None and ledger.finished is not (self.expected == self.setting.end_step):
            raise Violation("the ledger is wrong about the end")

    def check_refusals(self) -> None:
        """Raises Violation if the ledger accepts a message that nobody may send now."""
        before = self.key()
        for slot, entry in enumerate(self.ledger.slots):
            for generation in (entry.generation, entry.generation - 1):
                if self.reading is None or self.reading.get(slot) != generation:
                    self._refuses(self.ledger.release, slot, generation)
                for worker, assignment in enumerate(self.writing):
                    if assignment is None or (assignment.slot, assignment.generation) != (slot, generation):
                        self._refuses(self.ledger.wrote, worker, slot, generation)
        if self.key() != before:
            raise Violation("a message that was refused changed something")

    @property
    def _horizon(self) -> int:
        return min(self.ledger.next_delivery + self.setting.slots, self.setting.end_step)

    @staticmethod
    def _refuses(message: Callable[..., object], *arguments: int) -> None:
        try:
            message(*arguments)
        except ProtocolError:
            return
        raise Violation(f"{message.__name__}{arguments} is accepted from a peer that may not say it")


def explore(setting: Setting) -> Exploration:
    """Goes through all states.

    Raises:
        Violation: with the shortest run that leads there, where a state is at fault.
    """
    keys = [World(setting).key()]
    numbers = {keys[0]: 0}
    came_from: list[tuple[int, Action] | None] = [None]
    onward: list[set[int]] = []  # where each state leads to without a death
    transitions = 0
    for number, key in enumerate(keys):  # which grows meanwhile
        world, onward_here, action = World.of(setting, key), set(), None
        try:
            world.check()
            world.check_refusals()
            for action in [*world.actions(), *world.dying()]:
                after = World.of(setting, key)
                getattr(after, action.name)(*action.arguments)
                reached_key = after.key()
                reached = numbers.setdefault(reached_key, len(keys))
                if reached == number:
                    continue
                transitions += 1
                if after.deaths == world.deaths:
                    onward_here.add(reached)
                if reached == len(keys):
                    keys.append(reached_key)
                    came_from.append((number, action))
            action = None
            if not onward_here and not world.ended:
                raise Violation("nothing can happen any more, and it is not the end")
        except (Violation, ProtocolError) as error:
            raise Violation(f"{error}, after {_run(came_from, number, action)}") from error
        onward.append(onward_here)
    try:
        TopologicalSorter(dict(enumerate(onward))).prepare()
    except CycleError as error:
        raise Violation(f"it goes in circles, after {_run(came_from, error.args[1][0], None)}") from error
    return Exploration(len(keys), transitions)


def _run(came_from: list[tuple[int, Action] | None], number: int, last: Action | None) -> str:
    actions = [] if last is None else [last]
    while (step := came_from[number]) is not None:
        number, action = step
        actions.append(action)
    return ", ".join(map(str, reversed(actions))) or "nothing"
