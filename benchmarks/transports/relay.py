"""A TCP relay that holds every byte back for so long, both ways: a network with a delay, between processes of a host.

    python -m benchmarks.transports.relay HOST PORT SECONDS PARENT      listens at a port of 127.0.0.1, which it prints

What has come in goes out in the same order when its time has come; at most `_AHEAD` pieces wait, then no more is read,
which is a window of 4 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

from shared.lifetime import die_with_parent

_PIECE_BYTES = 1 << 16
_AHEAD = 64


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
    """From one to the other until the source ends."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)

    async def read() -> None:
        data = b"first"
        while data:
            data = await source.read(_PIECE_BYTES)
            await pieces.put((time.monotonic() + seconds, data))

    reading = asyncio.create_task(read())
    with contextlib.suppress(OSError):
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(due - time.monotonic())
            if not data:
                target.write_eof()
                break
            target.write(data)
            await target.drain()
    reading.cancel()


async def _serve(host: str, port: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(_carry(reader, there_writer, seconds), _carry(there_reader, writer, seconds))
        writer.close()
        there_writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1")
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    host, port, seconds, parent = sys.argv[1:]
    die_with_parent(int(parent))
    asyncio.run(_serve(host, int(port), float(seconds)))


if __name__ == "__main__":
    main()
