"""``docs/deploy.md``: its commands, its unit for systemd and its configuration of nginx fit what is here."""

from __future__ import annotations

import configparser
import http.client
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from starlette.applications import Starlette
from starlette.routing import Route

from shared import listening, web
from tests.cluster import PATIENCE, ROOT
from trainer.__main__ import parse
from trainer.tasks import serve
from trainer.tasks.serve.gate import MOST_BYTES, Gate
from trainer.tasks.serve.meters import Meters

PAGE = (ROOT / "docs" / "deploy.md").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
TOKEN = "open sesame, please"
SECONDS = 20 * PATIENCE


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_services_and_variables_that_the_commands_name_are_in_the_compose_file() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    lines = [line.split(" #")[0].split() for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 6
    for words in lines:
        variables = [word.split("=")[0] for word in words if re.match(r"[A-Z]+=", word)]
        assert all(f"${{{name}:-" in COMPOSE for name in variables), words
        where = words.index("docker")
        assert words[where + 1] == "compose"
        named = [word.split(":")[0] for word in words[where + 3 :] if not word.startswith(("-", "."))]
        assert set(named) <= services.keys(), words
    for name in re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE, re.MULTILINE):
        assert name in services


def test_systemd_starts_a_command_that_is_there_and_waits_longer_than_it_takes_to_end() -> None:
    (text,) = blocks("ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    command = unit["Service"]["ExecStart"].split()
    assert command[1:3] == ["-m", "trainer"] and Path(command[0]).is_relative_to(unit["Service"]["WorkingDirectory"])
    options = parse(command[3:])
    assert options.task == "serve" and (ROOT / options.config).is_file() and options.token == "${TOKEN}"
    assert int(unit["Service"]["TimeoutStopSec"]) > web._GRACE_SECONDS


def test_a_proxy_as_the_page_configures_it_lets_those_in_who_know_the_token(tmp_path: Path) -> None:
    (text,) = blocks("nginx")
    upstream = re.search(r"proxy_pass http://127\.0\.0\.1:(\d+);", text)
    assert upstream and int(upstream[1]) == serve.PORT
    assert f"client_max_body_size {MOST_BYTES >> 20}m;" in text
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("no nginx here: the configuration was read, and not run")
    listener = listening.listener("127.0.0.1", 0, TOKEN)
    listener.listen()  # so that nobody is refused before the server is there
    answers = [Route(path, web.answering({"path": path})) for path in ("/healthz", "/vocabulary")]
    server = web.server(Gate(Starlette(routes=answers), TOKEN, 0, True, Meters()))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace(
        upstream[1], str(listener.getsockname()[1])
    )
    text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE)
    places = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\nhttp {{ access_log off; {places}\n{text}\n}}\n"
    )
    proxy = subprocess.Popen([nginx, "-c", str(config), "-p", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    try:
        assert _status(port, "/healthz", proxy) == 200
        assert _status(port, "/vocabulary", proxy) == 401
        assert _status(port, "/vocabulary", proxy, Authorization=f"Bearer {TOKEN}") == 200
    finally:
        proxy.terminate()
        proxy.communicate(timeout=SECONDS)
        server.should_exit = True
        thread.join(SECONDS)


def _status(port: int, path: str, proxy: subprocess.Popen[str], **headers: str) -> int:
    deadline = time.monotonic() + SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            connection.request("GET", path, headers={"Host": "detector.example.org", **headers})
            return connection.getresponse().status
        except ConnectionRefusedError:
            assert proxy.poll() is None and time.monotonic() < deadline, proxy.communicate()[1]
            time.sleep(0.05)
        finally:
            connection.close()
