"""Where a web page of ours listens: at this machine alone, unless there is a token that others have to know."""

from __future__ import annotations

import argparse
import ipaddress
import socket

from shared.errors import UserError

_SHORTEST_TOKEN = 12


def add_arguments(parser: argparse.ArgumentParser, port: int) -> None:
    """``--host``, ``--port`` (by default `port`) and ``--token``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="0: any that is free (default: %(default)s)")
    parser.add_argument(
        "--token", help="what everybody who asks has to know; needed where others than this machine can ask"
    )


def listener(host: str, port: int, token: str | None) -> socket.socket:
    """A socket at the address, before anything slow begins.

    Raises:
        UserError: it cannot be used, or it can be reached from elsewhere and there is no token.
    """
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise UserError(f"--token: it can be guessed; expected {_SHORTEST_TOKEN} letters or more")
    if port not in range(1 << 16):
        raise UserError(f"--port {port}: expected a number below {1 << 16}, or 0 for any port that is free")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: {error.strerror}; choose another, or 0 for any port that is free"
        ) from None
    if token is None and not is_local(found):
        found.close()
        raise UserError(f"--host {host}: others can reach it; give a --token that they have to know")
    return found


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def url(listener: socket.socket, host: str, token: str | None) -> str:
    """What to type into a browser. The token is behind '#': a browser sends that to nobody."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}/{'#token=TOKEN' if token else ''}"
