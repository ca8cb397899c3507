"""What a stream has in each of its states, and in no other."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from data_server.serving.batches import Batches
from data_server.serving.client import Client
from data_server.serving.meter import Meter
from shared.arena import read_only
from shared.faults import reach
from shared.layout import Layout
from shared.messages import EndOfStream, Quarantined


@dataclass(frozen=True)
class Building:
    """The data set of `client` is being built."""

    client: Client


@dataclass(frozen=True)
class Open:
    """`client` is served."""

    client: Client
    batches: Batches

    def welcome(self) -> None:
        shown = read_only(self.batches.memory)
        self.client.tell(self.batches.welcome, shown)
        os.close(shown)
        reach("server.welcomed")

    def quarantined(self, message: Quarantined) -> None:
        """Names a sample that kills workers to the trainer."""
        self.client.tell(message)

    def deliver(self, meter: Meter) -> None:
        """Hands the trainer all batches that it may have by now, and their end."""
        client, batches = self.client, self.batches
        while batch := batches.lease():
            reach("server.leased")
            client.tell(batch)
            client.was_given(batch)
            meter.delivered(Layout.from_wire(batch.layout, batches.welcome.slot_bytes).nbytes)
            reach("server.batch")
        if batches.ledger.finished and not client.ended:
            client.ended = True
            client.tell(EndOfStream(client.digest))


@dataclass(frozen=True)
class Dormant:
    """The trainer was killed; batches are made for the next one, which will also get what is `untold`."""

    batches: Batches
    untold: list[Quarantined] = field(default_factory=list)

    def quarantined(self, message: Quarantined) -> None:
        """Keeps the name of a sample that kills workers for the next trainer."""
        self.untold.append(message)


@dataclass(frozen=True)
class Closed:
    """Nothing is left of it."""
