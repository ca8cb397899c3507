"""What it costs to receive a far batch, measured before there is any: some frames over the link of `far_link`, from
this process to itself, encrypted, copied and checked as a proxy does it.

To send them takes about as much of a processor as to receive them; so it is half of what both take.
"""

from __future__ import annotations

import time

import numpy as np
import zmq

from data_server.handover.far_link import FRAME_BYTES, Place, to_agent, to_proxies
from shared.checksum import Checksum

_FRAMES = 64


def receiving() -> float:
    """Microseconds of a processor of this host for a byte."""
    context = zmq.Context()
    agent, agents_secret = zmq.curve_keypair()
    ours, our_secret = zmq.curve_keypair()
    payload = np.zeros(_FRAMES * FRAME_BYTES, np.uint8)
    checksum = Checksum(payload)
    with to_proxies(context, agent, agents_secret) as router:
        router.bind("tcp://127.0.0.1:*")
        address = router.getsockopt_string(zmq.LAST_ENDPOINT)
        with to_agent(context, Place("", address, agent.decode(), ours.decode(), our_secret.decode())) as proxy:
            proxy.connect(address)
            proxy.send(b"")
            identity, _ = router.recv_multipart()
            frame = bytes(FRAME_BYTES)
            begun = time.process_time()
            for _ in range(_FRAMES):
                router.send_multipart([identity, frame])
            for end in range(FRAME_BYTES, payload.nbytes + 1, FRAME_BYTES):
                payload[end - FRAME_BYTES : end] = np.frombuffer(proxy.recv(), np.uint8)
                checksum.passed(end)
            spent = time.process_time() - begun
    context.term()
    return spent / 2 * 1e6 / payload.nbytes
