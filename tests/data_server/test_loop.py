import os

from data_server.loop import Loop


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
