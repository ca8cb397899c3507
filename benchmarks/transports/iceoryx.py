"""iceoryx2: publish and subscribe over its shared memory, an event to wake the consumer.

The producer copies its batch into a loaned sample; where ``in_place`` is set, the sample counts as made there and the
copying is not counted.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import iceoryx2
import numpy as np

from benchmarks.transports.exchange import UNDER_WAY, Permits, produce_each, serve
from benchmarks.transports.stamps import Stamps


class Incoming:
    """A borrowed sample as a uint8 array; gives the sample back when it is dropped."""

    def __init__(self, sample: Any) -> None:
        self._sample = sample
        self.array = _bytes(sample)
        self.nbytes = self.array.nbytes

    def __del__(self) -> None:
        del self.array
        self._sample.delete()


def main(settings: dict[str, Any]) -> None:
    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    name = f"handover-{os.getpid()}"

    def producer(permits: Permits, stamps: Stamps) -> None:
        batches, event = _services(name)
        publisher = batches.publisher_builder().initial_max_slice_len(settings["largest"]).create()
        notifier = event.notifier_builder().create()

        def loan(payload: np.ndarray) -> Any:
            sample = publisher.loan_slice_uninit(payload.nbytes)
            _bytes(sample)[:] = payload
            return sample.assume_init()

        def send(sample: Any) -> None:
            sample.send()
            notifier.notify()

        if settings["in_place"]:
            for sample in produce_each(permits, stamps, loan):
                send(sample)
        else:
            for payload in produce_each(permits, stamps):
                send(loan(payload))

    serve(producer, lambda: _receive(*_services(name)))


def _services(name: str) -> tuple[Any, Any]:
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    batches = (
        node.service_builder(iceoryx2.ServiceName.new(name))
        .publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
        .enable_safe_overflow(False)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(1)
        .subscriber_max_buffer_size(UNDER_WAY)
        .subscriber_max_borrowed_samples(1)
        .open_or_create()
    )
    return batches, node.service_builder(iceoryx2.ServiceName.new(name)).event().open_or_create()


def _receive(batches: Any, event: Any) -> Callable[[], Incoming]:
    subscriber = batches.subscriber_builder().create()
    listener = event.listener_builder().create()

    def receive() -> Incoming:
        while (sample := subscriber.receive()) is None:
            listener.blocking_wait()
        return Incoming(sample)

    return receive


def _bytes(sample: Any) -> np.ndarray:
    """uint8 (n,): a sample's payload, without a copy."""
    payload = sample.payload()
    return np.ctypeslib.as_array((ctypes.c_uint8 * payload.len()).from_address(sample.payload_ptr))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
