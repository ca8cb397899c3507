"""The server as a process: what it loads, how it starts and stops, and clients that behave badly."""

import os
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

from shared.codec import encode
from shared.link import Address, Channel, ChannelClosed
from shared.messages import PROTOCOL_VERSION, Checkpointed, Failure, Hail, Hello, Predictions, Ready, Release
from tests.cluster import ROOT, Cluster, digests, wait_for
from tests.photos import config_of


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
    assert cluster.server.wait(2) == 0
    assert not cluster.address.directory.exists()
    assert "Traceback" not in cluster.log
    cluster.stop()


def serve(address, *options):
    command = [sys.executable, "-m", "data_server", "--listen", address, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)


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
        self.control.connect(cluster.address.control)

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
    rude.say(b"nobody has hailed yet")
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
