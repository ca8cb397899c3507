"""A relay that holds every byte back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

from tests.cluster import ROOT

SECONDS = 0.05
PIECES = [bytes([number]) * 100_000 for number in range(5)]


def test_bytes_come_in_their_order_and_late_both_ways_and_an_end_is_passed_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        port = target.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.transports.relay", "127.0.0.1", str(port), str(SECONDS)]
        relay = subprocess.Popen([*command, str(os.getpid())], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            with socket.create_connection(("127.0.0.1", int(relay.stdout.readline()))) as near:
                far, _ = target.accept()
                with far:
                    echoing = threading.Thread(target=_echo, args=(far,))
                    echoing.start()
                    begun = time.monotonic()
                    near.sendall(b"".join(PIECES))
                    near.shutdown(socket.SHUT_WR)
                    first = near.recv(1)
                    assert time.monotonic() - begun >= 2 * SECONDS
                    rest = iter(lambda: near.recv(1 << 16), b"")
                    assert first + b"".join(rest) == b"".join(PIECES)
                    echoing.join()
        finally:
            relay.kill()
            relay.wait()


def _echo(end: socket.socket) -> None:
    while data := end.recv(1 << 16):
        end.sendall(data)
    end.shutdown(socket.SHUT_WR)
