"""What a process holds for itself, and has held."""

import mmap

from data_server.machine.process_memory import Anonymous, given_back_bytes, private_bytes

MIB = 1 << 20


def test_memory_that_is_taken_is_counted_and_what_is_given_back_is_told_apart():
    anonymous = Anonymous()
    before, anonymous_before = private_bytes(), anonymous.bytes()
    taken = mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.write(b"x" * (64 * MIB))
    assert 63 * MIB < private_bytes() - before < 80 * MIB
    assert 63 * MIB < anonymous.bytes() - anonymous_before < 140 * MIB
    taken.close()
    assert private_bytes() - before < 16 * MIB
    assert given_back_bytes() > 48 * MIB


def test_another_process_can_be_asked_about(cluster):
    assert MIB < private_bytes(cluster.server.pid) < 1024 * MIB
    assert 0 <= given_back_bytes(cluster.server.pid) < 1024 * MIB
