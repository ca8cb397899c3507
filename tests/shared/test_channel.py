import fcntl
import os
import resource
import socket
import struct
import threading
from contextlib import contextmanager

import pytest

from shared.channel import Channel, ChannelClosed, ChannelFull, NoDescriptorLeft
from shared.codec import encode
from shared.messages import MAX_MESSAGE_BYTES, Facts, Failure, MessageError, Notice, Started


@pytest.fixture
def ends():
    left, right = Channel.pair()
    channel = Channel(right)
    yield left, channel
    left.close()
    channel.close()


def frame(message):
    data = encode(message)
    return struct.pack("<I", len(data)) + data


def test_messages_arrive_in_order_and_whole_however_they_are_cut(ends):
    left, right = ends
    data = frame(Notice("one")) + frame(Notice("two " * 1000)) + frame(Failure("three", True))
    received = []
    for start in range(0, len(data), 700):
        left.socket.sendall(data[start : start + 700])
        received += right.read(Notice, Failure)
    assert received == [Notice("one"), Notice("two " * 1000), Failure("three", True)]


def test_descriptors_come_with_their_message_and_are_not_inherited(ends):
    left, right = ends
    files = [os.memfd_create(f"file {number}") for number in range(3)]
    for file in files:
        os.write(file, os.fstat(file).st_ino.to_bytes(8, "little"))
    left.send(Started(), files[0])
    left.send(Facts(["a"], 1, [1], "", 1, 1, 1, 1, 1, 1), files[1], files[2])
    assert right.receive(Started, Facts) == Started()
    taken = right.take_descriptors(1)
    right.receive(Started, Facts)
    taken += right.take_descriptors(2)
    for file, copy in zip(files, taken, strict=True):
        assert os.fstat(copy).st_ino == os.fstat(file).st_ino
        assert fcntl.fcntl(copy, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(copy)
        os.close(file)
    with pytest.raises(MessageError, match="1 descriptors should have come"):
        right.take_descriptors(1)


def test_closing_a_channel_closes_descriptors_that_nobody_took(ends):
    left, right = ends
    reader, writer = os.pipe()
    left.send(Started(), writer)
    os.close(writer)
    right.receive(Started)
    right.close()
    assert os.read(reader, 1) == b""  # the end: no writer is left
    os.close(reader)


def test_the_death_of_the_peer_is_an_end_of_file_after_its_last_words(ends):
    left, right = ends
    left.send(Notice("last words"))
    left.close()
    assert right.receive(Notice) == Notice("last words")
    with pytest.raises(ChannelClosed):
        right.receive(Notice)
    with pytest.raises(ChannelClosed):
        right.send(Notice("anybody?"))


def test_a_peer_that_does_not_read_keeps_nobody_waiting_who_does_not_want_to(ends):
    left, _ = ends
    left.socket.setblocking(False)
    with pytest.raises(ChannelFull):
        for _ in range(100_000):
            left.send(Notice("hello?"))


def test_a_frame_above_the_limit_is_refused_before_it_is_read(ends):
    left, right = ends
    left.socket.sendall(struct.pack("<I", MAX_MESSAGE_BYTES + 1))
    with pytest.raises(MessageError, match="a frame of 1048577 bytes"):
        right.receive(Notice)


def test_a_large_message_is_sent_whole_together_with_its_descriptor(ends):
    left, right = ends
    text = ["x" * 60_000] * 16
    sender = threading.Thread(target=left.send, args=(Facts(text, 1, [1], "", 1, 1, 1, 1, 1, 1), 0))
    sender.start()
    assert right.receive(Facts).classes == text
    sender.join()
    os.close(*right.take_descriptors(1))


def test_what_a_stopped_peer_does_not_take_is_kept_and_follows(ends):
    left, right = ends
    waiting = []
    left.never_wait(waiting.append)
    names = [["x" * 60_000] * 16, ["y"], ["z" * 60_000] * 16]
    for classes in names:
        reader, writer = os.pipe()
        left.send(Facts(classes, 1, [1], "", 1, 1, 1, 1, 1, 1), writer)
        os.close(reader)
        os.close(writer)
    received = []
    while len(received) < 3:
        received += right.read(Facts)
        os.set_blocking(right.fileno(), False)
        for _ in range(len(waiting)):
            waiting.pop()()
    assert [facts.classes for facts in received] == names
    for descriptor in right.take_descriptors(3):
        os.close(descriptor)


def test_descriptors_that_no_message_has_asked_for_are_few(ends):
    left, channel = ends
    for _ in range(2):
        socket.send_fds(left.socket, [frame(Notice("x"))], [0, 0, 0])
    with pytest.raises(MessageError, match="more than 4 descriptors that no message has asked for"):
        for _ in range(2):
            channel.receive(Notice)


@contextmanager
def no_descriptor_left():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_no_descriptor_is_left_a_descriptor_that_comes_is_told_from_one_that_was_not_sent(ends):
    left, right = ends
    left.send(Started(), 0)
    with no_descriptor_left():
        assert right.receive(Started) == Started()
    with pytest.raises(NoDescriptorLeft, match="raise the limit"):
        right.take_descriptors(1)


def test_where_no_descriptor_is_left_there_is_no_channel_and_nothing_is_sent(ends):
    left, right = ends
    left.never_wait(lambda _: None)
    with no_descriptor_left():
        with pytest.raises(NoDescriptorLeft):
            Channel.pair()
        with pytest.raises(NoDescriptorLeft):
            left.send(Started(), 0)
    left.send(Notice("later"))
    assert right.receive(Started, Notice) == Notice("later")
