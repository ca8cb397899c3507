"""What a process holds for itself, and has held."""

import mmap
import subprocess
import sys

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


TAKE = "input(); held = bytes(range(256)) * (1 << 18); print(flush=True); input()"


def test_what_another_process_takes_is_counted_until_it_is_dead_and_then_nothing():
    with subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        anonymous = Anonymous(process.pid)
        before = anonymous.bytes()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline()
        assert 63 * MIB < anonymous.bytes() - before < 80 * MIB
    assert process.returncode is not None and anonymous.bytes() == 0
    anonymous.close()


def test_another_process_can_be_asked_about(cluster):
    assert MIB < private_bytes(cluster.server.pid) < 1024 * MIB
    assert 0 <= given_back_bytes(cluster.server.pid) < 1024 * MIB
