"""The server as a process: what it loads, how it starts and stops, and clients that behave badly."""

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import zmq

from data_server.machine.descriptors import GUESTS
from shared.address import Address
from shared.channel import Channel, ChannelClosed
from shared.client import StreamClient
from shared.codec import encode
from shared.messages import PROTOCOL_VERSION, Checkpointed, Failure, Hail, Hello, Predictions, Ready, Release
from tests.cluster import PATIENCE, ROOT, Cluster, digests, wait_for
from tests.photos import config_of
from tests.strangers_of_this_machine import STRANGER, by_another_user, everybodys_folder, only_root


def maps(process):
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_no_process_of_the_data_server_holds_jittor_or_sees_a_gpu_and_the_server_itself_holds_no_torch(cluster, photos):
    client = cluster.open(config_of(photos))
    digests(client, 1)
    # The root nursery, the stream's nursery, two workers.
    processes = wait_for(lambda: len(cluster.processes()) == 4 and cluster.processes(), 5)
    for process in (psutil.Process(cluster.server.pid), *processes):
        assert "jittor" not in maps(process)
        assert b"CUDA_VISIBLE_DEVICES=" in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert "libtorch" not in maps(psutil.Process(cluster.server.pid))
    assert all("libtorch" in maps(process) for process in processes)


def test_nurseries_have_one_thread_and_can_be_forked(cluster, photos):
    client = cluster.open(config_of(photos))
    digests(client, 1)
    assert [process.num_threads() for process in (cluster.root(), *cluster.nurseries())] == [1, 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly_even_in_the_middle_of_a_stream(photos, number):
    cluster = Cluster()
    if number == signal.SIGTERM:
        digests(cluster.open(config_of(photos)), 2)
    cluster.processes()
    cluster.server.send_signal(number)
    assert cluster.server.wait(2 * PATIENCE) == 0
    assert not cluster.address.directory.exists()
    assert "Traceback" not in cluster.log
    cluster.stop()


def serve(address, *options):
    command = [sys.executable, "-m", "data_server", "--listen", address, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_second_server_on_the_same_address_is_refused_in_one_line(cluster, photos):
    second = serve(cluster.address.text)
    assert second.returncode == 2
    assert second.stderr == (
        f"error: data server address {cluster.address.text!r}: another data server is running there; "
        "stop it or choose another directory\n"
    )
    assert digests(cluster.open(config_of(photos)), 1)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ipc:///tmp/" + "d" * 120, "the socket path is 134 bytes long, the kernel allows 107"),
        ("ipc:///proc/version/feed", "cannot use directory /proc/version/feed: Not a directory"),
        ("tcp://127.0.0.1:1", "expected ipc:///DIRECTORY"),
    ],
)
def test_an_unusable_address_is_refused_in_one_line(address, said):
    refused = serve(address)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: data server address") and said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_no_workers_are_refused_by_the_command_line():
    refused = serve("ipc:///tmp/never", "--workers", "0")
    assert refused.returncode == 2 and "expected 1 or more" in refused.stderr


class Rude:
    """A client that speaks the sockets but not the manners."""

    def __init__(self, cluster):
        self.identity = b"\x01" + os.urandom(15)
        self.lifeline = Channel(socket.socket(socket.AF_UNIX))
        self.lifeline.socket.connect(cluster.address.lifeline)
        self.lifeline.socket.settimeout(5)
        self.control = zmq.Context.instance().socket(zmq.DEALER)
        self.control.setsockopt(zmq.LINGER, 0)
        self.control.setsockopt(zmq.IDENTITY, self.identity)
        self.control.bind(cluster.address.control(self.identity))

    def hail(self):
        self.lifeline.send(Hail(PROTOCOL_VERSION, self.identity))
        assert self.lifeline.receive(Ready)

    def say(self, *frames):
        self.control.send_multipart(frames)

    def is_dropped(self):
        with pytest.raises(ChannelClosed):
            while True:
                self.lifeline.receive(Failure)
        return True

    def close(self):
        self.control.close()
        self.lifeline.close()


@pytest.fixture
def rude(cluster):
    client = Rude(cluster)
    yield client
    client.close()


def test_a_client_that_says_nothing_hurts_nobody(cluster, photos, rude):
    rude.lifeline.socket.sendall(b"\x05")  # the beginning of a frame
    assert digests(cluster.open(config_of(photos)), 3)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<I", 3) + b"abc",
        struct.pack("<I", 2**32 - 1),
        struct.pack("<I", len(encode(Release(1, 1)))) + encode(Release(1, 1)),
    ],
)
def test_a_lifeline_that_begins_with_anything_but_hail_is_closed(cluster, photos, rude, data):
    rude.lifeline.socket.sendall(data)
    assert rude.is_dropped()
    assert digests(cluster.open(config_of(photos)), 1)


def test_garbage_before_the_stream_closes_the_lifeline(cluster, photos, rude):
    with pytest.raises(zmq.Again):  # the server has connected to nobody who has not hailed
        rude.control.send(b"nobody has hailed yet", zmq.DONTWAIT)
    rude.hail()
    rude.say(b"garbage")
    assert rude.is_dropped()
    assert digests(cluster.open(config_of(photos)), 1)


@pytest.mark.parametrize("frames", [(b"",), (b"", b"", b""), (encode(Release(0, 0)),), (b"x" * 100_000, b"y")])
def test_what_is_not_hello_does_not_open_a_stream(cluster, photos, rude, frames):
    rude.hail()
    rude.say(*frames)
    assert rude.is_dropped()
    assert digests(cluster.open(config_of(photos)), 1)


@pytest.mark.parametrize("config", [{}, {"dataset": 3}, {"dataset": {}, "feed": {"slots": -1}}])
def test_a_hello_with_a_config_of_nonsense_is_refused_with_a_reason(cluster, photos, rude, config):
    rude.hail()
    rude.say(encode(Hello("rude", config, 0, 0, 1, 0, 0, 0, 1)))
    assert "data part of the config: " in rude.lifeline.receive(Failure).text
    assert rude.is_dropped()
    assert digests(cluster.open(config_of(photos)), 1)


@pytest.mark.parametrize("message", [Release(0, 1), Checkpointed(0, 1), Predictions(b"")])
def test_a_message_before_welcome_ends_the_stream(cluster, photos, rude, message):
    rude.hail()
    rude.say(encode(Hello("rude", config_of(photos), 0, 0, 1, 0, 0, 0, 1)))
    if isinstance(message, Predictions):
        rude.say(encode(message))
    else:
        wait_for(lambda: not cluster.is_idle(), 2)  # until the server has HELLO, which comes another way
        rude.lifeline.send(message)
    assert rude.lifeline.receive(Failure).text == f"protocol error: {type(message).__name__} before WELCOME"
    assert rude.is_dropped()
    wait_for(cluster.is_idle, 2)


def test_a_client_that_reads_nothing_loses_its_stream_and_keeps_nobody_waiting(cluster, photos, rude):
    credits = 1000  # more BATCHes than a socket's buffer takes
    config = config_of(photos, feed={"slots": credits}, batch_size=1)
    rude.hail()
    rude.say(encode(Hello("deaf", config, 0, 0, 1, 0, 0, 0, credits)))
    wait_for(lambda: "the trainer does not read what it is sent" in cluster.log, 30)
    assert digests(cluster.open(config_of(photos)), 1)
    cluster.close_streams()
    wait_for(cluster.is_idle, 2)


def test_an_identity_is_taken_once(cluster, rude):
    rude.hail()
    double = Rude(cluster)
    double.identity = rude.identity
    double.lifeline.send(Hail(PROTOCOL_VERSION, rude.identity))
    assert double.is_dropped()
    double.close()


def test_clients_that_come_and_go_leave_no_descriptor_behind(cluster):
    def descriptors():
        return len(os.listdir(f"/proc/{cluster.server.pid}/fd"))

    before = descriptors()
    for number in range(30):
        client = Rude(cluster)
        if number % 2:
            client.hail()
        client.close()
    wait_for(lambda: descriptors() <= before, 2)


def test_a_client_that_leaves_while_its_data_set_is_being_built_leaves_nothing(cluster, photos):
    rude = Rude(cluster)
    rude.hail()
    rude.say(encode(Hello("rude", config_of(photos), 0, 0, 1, 0, 0, 0, 1)))
    time.sleep(0.05)
    rude.close()
    wait_for(cluster.is_idle, 2)


def test_an_embedded_server_dies_with_the_process_that_embeds_it(tmp_path):
    address = Address(f"ipc://{tmp_path}/d")
    code = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'data_server', '--listen', sys.argv[1], '--embedded-in', str(os.getpid())]\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    trainer = subprocess.Popen([sys.executable, "-c", code, address.text], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    server = psutil.Process(int(trainer.stdout.readline()))
    wait_for(address.is_served, 20)
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, 2)
    assert not address.directory.exists()


@only_root
def test_a_client_of_another_user_is_turned_away_and_told_why(photos):
    with everybodys_folder() as folder:
        cluster = Cluster()
        os.chmod(cluster.directory, 0o755)
        os.chmod(cluster.address.directory, 0o755)
        os.chmod(cluster.address.lifeline, 0o777)

        def asks() -> None:
            lifeline = Channel(socket.socket(socket.AF_UNIX))
            lifeline.socket.connect(cluster.address.lifeline)
            lifeline.send(Hail(PROTOCOL_VERSION, b"\x01" + os.urandom(15)))
            (folder / "said").write_text(lifeline.receive(Ready, Failure).text)

        with by_another_user(asks):
            assert "serves no other; start your own" in (folder / "said").read_text()
        assert f"a client of user {STRANGER} is turned away" in cluster.log
        assert digests(cluster.open(config_of(photos)), 1)
        cluster.stop()


@pytest.mark.parametrize("name", ["control", "lifeline"])
def test_connections_beyond_the_limit_of_open_files_end_nothing(photos, name):
    cluster = Cluster(2, ("prlimit", "--nofile=256"))
    client = cluster.open(config_of(photos))
    crowd = []
    for _ in range(300):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(5)
        crowd.append(one)
        with contextlib.suppress(OSError):  # nobody listens there
            one.connect(str(cluster.address.directory / name))
    assert digests(client, 6)
    process, limit = cluster.server.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(process, limit)
    resource.prlimit(process, limit, (3, before[1]))  # as when the whole machine has no descriptor left
    late = socket.socket(socket.AF_UNIX)
    late.connect(cluster.address.lifeline)
    assert digests(client, 6)
    victim = cluster.workers()[0]
    victim.kill()
    wait_for(lambda: not victim.is_running(), 5)  # its nursery has heard of it
    resource.prlimit(process, limit, before)
    wait_for(lambda: len(cluster.workers()) == 2, 5)
    assert digests(client, 6)
    crowd.append(late)
    assert cluster.server.poll() is None
    for one in crowd:
        one.close()
    assert digests(cluster.open(config_of(photos)), 1)
    cluster.stop()


def test_of_too_many_guests_the_one_that_has_been_silent_longest_is_turned_away(cluster, photos):
    guests = []
    for _ in range(GUESTS + 1):
        guests.append(socket.socket(socket.AF_UNIX))
        guests[-1].connect(cluster.address.lifeline)
    first, *others = guests
    first.settimeout(60)
    assert first.recv(1) == b""
    for guest in others:
        with pytest.raises(BlockingIOError):
            guest.recv(1, socket.MSG_DONTWAIT)
    for guest in guests:
        guest.close()
    assert digests(cluster.open(config_of(photos)), 1)


def test_nothing_is_left_in_the_directory_by_trainers_dead_or_alive(cluster, photos):
    def left() -> set[str]:
        return set(os.listdir(cluster.address.directory))

    before = left()
    client = cluster.open(config_of(photos))
    assert left() == before
    rude = Rude(cluster)
    rude.hail()
    assert len(left()) == len(before) + 1
    rude.lifeline.close()  # as a kill would
    wait_for(lambda: left() == before, 5)
    rude.control.close()
    assert digests(client, 1)


def test_a_nursery_that_does_not_read_keeps_neither_other_streams_nor_sigterm_waiting(photos):
    cluster = Cluster(1)
    client = cluster.open(config_of(photos))
    digests(client, 1)
    cluster.root().suspend()
    rude = Rude(cluster)
    rude.hail()
    classes = tuple(f"class number {number}" for number in range(20_000))
    rude.say(encode(Hello("large", config_of(photos, metainfo={"classes": classes}), 0, 0, 1, 0, 0, 0, 1)))
    assert digests(client, 12)
    cluster.processes()
    cluster.server.send_signal(signal.SIGTERM)
    assert cluster.server.wait(120) == 0
    rude.close()
    cluster.stop()


@pytest.mark.parametrize("full", [False, True])
def test_a_log_that_cannot_be_written_ends_nothing(photos, tmp_path, full):
    reader, writer = os.pipe()
    address = Address(f"ipc://{tmp_path}/d")
    command = [sys.executable, "-m", "data_server", "--workers", "1", "--listen", address.text]
    with open("/dev/full", "wb") as disk:
        server = subprocess.Popen(command, cwd=ROOT, stderr=disk if full else writer)
    os.close(writer)
    wait_for(address.is_served, 20)
    client = StreamClient(address, Hello("test", config_of(photos), 7, 0, 1, 0, 0, 0, 2))
    digests(client, 2)
    os.close(reader)
    root = psutil.Process(server.pid).children()[0]
    (nursery,) = root.children()
    nursery.children()[0].kill()
    assert digests(client, 12)
    server.terminate()
    assert server.wait(120) == 0
    client.close()
