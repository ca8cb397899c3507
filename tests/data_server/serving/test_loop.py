import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zmq

from data_server.serving import loop as module
from data_server.serving.loop import Loop, NotingSocket


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


def pipe_with_a_byte() -> int:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    return reader


def test_every_ready_source_is_called():
    loop, called = Loop(), []
    for name in "ab":
        reader = pipe_with_a_byte()
        loop.watch(reader, lambda name=name, reader=reader: called.append(name) or loop.forget(reader))
    last = pipe_with_a_byte()
    loop.watch(last, lambda: setattr(loop, "running", len(called) < 2))
    loop.run()
    assert sorted(called) == ["a", "b"]


def test_a_descriptor_that_another_callback_closed_is_not_mistaken_for_its_successor():
    """Two sources are ready at once; whichever is served first replaces the other by a new one of the same number."""
    loop, called = Loop(), []
    first, second = pipe_with_a_byte(), pipe_with_a_byte()

    def replace(other: int) -> None:
        loop.forget(other)
        os.close(other)
        empty, _ = os.pipe()
        assert empty == other
        loop.watch(empty, lambda: called.append("the successor, which has nothing to say"))
        loop.running = False

    loop.watch(first, lambda: replace(second))
    loop.watch(second, lambda: replace(first))
    loop.run()
    assert called == []


def test_another_thread_has_a_callback_called_by_the_loops_own_even_while_it_sleeps():
    loop, called = Loop(), []

    def callback():
        called.append(threading.current_thread())
        loop.running = False

    other = threading.Timer(0.05, loop.hand_over, [callback])
    other.start()
    loop.run()
    assert called == [threading.current_thread()]


def test_a_timer_fires_once_when_its_time_has_come_and_not_when_it_is_cancelled():
    loop, called = Loop(), []

    def first() -> None:
        called.append("first")

    def never() -> None:
        called.append("cancelled")

    loop.after(0.01, first)
    loop.after(0.0, never)
    loop.cancel(never)
    loop.after(0.05, lambda: setattr(loop, "running", False))
    loop.run()
    assert called == ["first"]


def test_sources_are_served_while_a_timer_runs():
    loop, called = Loop(), []
    reader = pipe_with_a_byte()
    loop.watch(reader, lambda: called.append("source") or loop.forget(reader))
    loop.after(0.05, lambda: called.append("timer") or setattr(loop, "running", False))
    loop.run()
    assert called == ["source", "timer"]


def hang_up(socket: zmq.Socket, address: str) -> None:
    """What a server does when its client has gone before it was connected to."""
    with pytest.raises(zmq.ZMQError):
        socket.disconnect(address)


@pytest.mark.parametrize("kind", [zmq.Socket, NotingSocket])
@pytest.mark.parametrize(
    "look",
    [
        lambda server: server.send(b"something else"),
        lambda server: server.send_multipart([b"something", b"else"]),
        lambda server: server.connect("inproc://nobody"),
        lambda server: hang_up(server, "ipc:///tmp/nobody"),
    ],
    ids=["send", "send_multipart", "connect", "disconnect"],
)
def test_a_message_is_served_even_when_its_news_was_taken_away(tmp_path, context, kind, look):
    """ZeroMQ's descriptor is readable until anybody has looked at the socket, and all of these look."""
    server, client = context.socket(zmq.DEALER, socket_class=kind), context.socket(zmq.DEALER)
    server.bind(f"ipc://{tmp_path}/s")
    client.connect(f"ipc://{tmp_path}/s")
    loop, heard = Loop(), []

    def listen() -> None:
        heard.append(server.recv())
        loop.running = False

    def take_away() -> None:
        client.send(b"message")
        time.sleep(0.2)
        look(server)

    loop.watch(server, listen)
    loop.after(0.1, take_away)
    loop.after(5, lambda: setattr(loop, "running", False))
    loop.run()
    assert heard == [b"message"]


def test_messages_that_came_together_are_all_served_where_they_are_read_one_at_a_time(tmp_path, context):
    server, client = context.socket(zmq.DEALER, socket_class=NotingSocket), context.socket(zmq.DEALER)
    server.bind(f"ipc://{tmp_path}/s")
    client.connect(f"ipc://{tmp_path}/s")
    loop, heard = Loop(), []

    def listen() -> None:
        heard.append(server.recv())
        loop.running = len(heard) < 3

    for text in (b"a", b"b", b"c"):
        client.send(text)
    time.sleep(0.2)
    loop.watch(server, listen)
    loop.after(5, lambda: setattr(loop, "running", False))
    loop.run()
    assert heard == [b"a", b"b", b"c"]


def test_a_socket_that_notes_its_use_is_not_asked_whenever_the_loop_wakes(tmp_path, context, monkeypatch):
    asked, heard = [], []
    is_readable = module.is_readable
    monkeypatch.setattr(module, "is_readable", lambda socket: asked.append(socket) or is_readable(socket))
    server, client = context.socket(zmq.DEALER, socket_class=NotingSocket), context.socket(zmq.DEALER)
    server.bind(f"ipc://{tmp_path}/s")
    loop, rounds = Loop(), []

    def wake() -> None:
        rounds.append(len(asked))
        if len(rounds) == 20:
            client.connect(f"ipc://{tmp_path}/s")
            client.send(b"message")
        else:
            loop.after(0, wake)

    def listen() -> None:
        heard.append(server.recv())
        loop.running = False

    loop.watch(server, listen)
    loop.after(0, wake)
    loop.after(5, lambda: setattr(loop, "running", False))
    loop.run()
    assert heard == [b"message"]
    assert rounds[0] == 1 and rounds[-1] < 5  # its descriptor reports that it is bound


CALLBACKS_HANG_UP = """
import os, sys, zmq
from data_server.serving.loop import Loop
context, address = zmq.Context(), sys.argv[1]
peer, router = context.socket(zmq.DEALER), context.socket(zmq.ROUTER)
peer.bind(address), router.connect(address)
peer.send_multipart([b"a message", b"of", b"many frames"])
router.poll(60_000)
loop, got = Loop(), []
def hang_up():
    router.disconnect(address), setattr(loop, "running", False)
(reader, writer), (left, right) = os.pipe(), os.pipe()
os.write(writer, b"x")
loop.watch(reader, hang_up) if sys.argv[2] == "readable" else loop.when_writable(right, hang_up)
loop.watch(router, lambda: got.extend(router.recv_multipart()))
loop.run()
sys.exit(got[1:] != [b"a message", b"of", b"many frames"])
"""


@pytest.mark.parametrize("state", ["readable", "writable"])
def test_a_message_of_many_frames_is_read_before_a_descriptor_can_disconnect_its_peer(tmp_path: Path, state: str):
    """In a process of its own: libzmq would abort it."""
    command = [sys.executable, "-c", CALLBACKS_HANG_UP, f"ipc://{tmp_path}/peer", state]
    assert subprocess.run(command, timeout=120).returncode == 0
