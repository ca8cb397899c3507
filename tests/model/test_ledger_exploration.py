"""The ledger in every state of a small stream; and ledgers that are wrong on purpose, which must all be found out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data_server.serving.ledger import Ledger, ProtocolError, SlotState
from tests.model.explorer import Setting, Violation, explore


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(Setting(credits=1), marks=pytest.mark.slow),
        pytest.param(Setting(credits=2), marks=pytest.mark.slow),
        Setting(credits=2, slots=2),
        Setting(workers=3, slots=2, end_step=3, deaths=1),
    ],
    ids=str,
)
def test_the_ledger_keeps_its_promises_in_every_state(setting, capsys):
    explored = explore(setting)
    with capsys.disabled():
        print(f"\n{setting}: {explored}")


class RewindFreesWhatIsBeingWritten(Ledger):
    def rewind(self, step):
        super().rewind(step)
        for slot in self.slots:
            if slot.state is SlotState.QUARANTINED:
                self._free(slot)


class RewindFreesWhatIsBeingWrittenOfTheNextSteps(Ledger):
    def rewind(self, step):
        super().rewind(step)
        for slot in self.slots:
            if slot.state is SlotState.WRITING:
                self._free(slot)


class RewindForgetsTheLeases(Ledger):
    def rewind(self, step):
        leased = [(slot, slot.step) for slot in self.slots if slot.state is SlotState.LEASED]
        super().rewind(step)
        for slot, delivered in leased:
            slot.state, slot.step = SlotState.LEASED, delivered


class RewindKeepsDistantSteps(Ledger):
    def rewind(self, step):
        self.next_delivery = step
        for slot in self.slots:
            if slot.state is SlotState.LEASED:
                self._free(slot)


class RewindGoesOn(Ledger):
    def rewind(self, step):
        super().rewind(max(step, self.next_delivery))


class QuarantineIsDelivered(Ledger):
    def wrote(self, worker, slot, generation):
        entry = self._entry(slot, generation, SlotState.WRITING, SlotState.QUARANTINED)
        if entry.worker != worker:
            raise ProtocolError("another worker's")
        entry.state, entry.worker = SlotState.READY, -1
        return True


class QuarantineIsForgotten(Ledger):
    def worker_died(self, worker):
        if any(slot.worker == worker and slot.state is SlotState.QUARANTINED for slot in self.slots):
            return None
        return super().worker_died(worker)


class AnyReleaseWillDo(Ledger):
    def release(self, slot, _generation):
        super().release(slot, self.slots[slot].generation)


class AnyReportWillDo(Ledger):
    def wrote(self, worker, slot, _generation):
        return super().wrote(worker, slot, self.slots[slot].generation)


class AnyWorkerMayReport(Ledger):
    def wrote(self, _worker, slot, generation):
        return super().wrote(max(self.slots[slot].worker, 0), slot, generation)


class GenerationsStandStill(Ledger):
    def assign(self, worker):
        assignment = super().assign(worker)
        if assignment is None:
            return None
        self.slots[assignment.slot].generation -= 1
        return replace(assignment, generation=assignment.generation - 1)


class DeadWorkersKeepTheirSlots(Ledger):
    def worker_died(self, _worker):
        return None


class IdleWorkersTakeBackWhatTheyWrote(Ledger):
    def wrote(self, worker, slot, generation):
        wanted = super().wrote(worker, slot, generation)
        self.slots[slot].worker = worker
        return wanted


class LostStepsAreSkipped(Ledger):
    def _next_missing(self):
        return max((slot.step + 1 for slot in self.slots), default=0) or self.next_delivery


class StepsAreWrittenTwice(Ledger):
    def _next_missing(self):
        return self.next_delivery


class LeasesAreOutOfOrder(Ledger):
    def lease(self):
        ready = [slot.step for slot in self.slots if slot.state is SlotState.READY]
        if ready:
            self.next_delivery = min(ready)
        return super().lease()


class CreditIsUnlimited(Ledger):
    def lease(self):
        self.credits = len(self.slots)
        return super().lease()


class LeasesBeforeItIsWritten(Ledger):
    def lease(self):
        for slot in self.slots:
            if slot.state is SlotState.WRITING:
                slot.state = SlotState.READY
        return super().lease()


class EndsLate(Ledger):
    def _ended(self, step):
        return step > self.end_step


class EndsEarly(Ledger):
    def _ended(self, step):
        return step >= self.end_step - 1


class ReleasesNothing(Ledger):
    def release(self, slot, generation):
        self._entry(slot, generation, SlotState.LEASED)


class WaitsForTwoFreeSlots(Ledger):
    def assign(self, worker):
        return super().assign(worker) if self.count(SlotState.FREE) > 1 else None


class WantsNothing(Ledger):
    def wrote(self, worker, slot, generation):
        super().wrote(worker, slot, generation)
        self._free(self.slots[slot])
        return False


@pytest.mark.parametrize(
    ("ledger", "complaint"),
    [
        (RewindFreesWhatIsBeingWritten, "its writer says otherwise"),
        (RewindFreesWhatIsBeingWrittenOfTheNextSteps, "its writer says otherwise"),
        (RewindForgetsTheLeases, "its reader says otherwise"),
        (RewindKeepsDistantSteps, "are held, the next delivery is"),
        (RewindGoesOn, "is delivered, step"),
        (QuarantineIsDelivered, "are held, the next delivery is"),
        (QuarantineIsForgotten, "its writer says otherwise"),
        (AnyReleaseWillDo, "is accepted from a peer that may not say it"),
        (AnyReportWillDo, "is accepted from a peer that may not say it"),
        (AnyWorkerMayReport, "is accepted from a peer that may not say it"),
        (GenerationsStandStill, "does not raise the generation"),
        (DeadWorkersKeepTheirSlots, "its writer says otherwise"),
        (IdleWorkersTakeBackWhatTheyWrote, "its writer says otherwise"),
        (LostStepsAreSkipped, "are held, the next delivery is"),
        (StepsAreWrittenTwice, "are held, the next delivery is"),
        (LeasesAreOutOfOrder, "is delivered, step 0 was expected"),
        (CreditIsUnlimited, "more leases than credits"),
        (LeasesBeforeItIsWritten, "the slot does not hold it"),
        (EndsLate, "are held, the next delivery is"),
        (EndsEarly, "wrong about the end"),
        (ReleasesNothing, "its reader says otherwise"),
        (WaitsForTwoFreeSlots, "nothing can happen any more"),
        (WantsNothing, "it goes in circles"),
    ],
)
def test_a_ledger_that_is_wrong_is_found_out(ledger, complaint):
    with pytest.raises(Violation, match=complaint):
        explore(Setting(ledger))
