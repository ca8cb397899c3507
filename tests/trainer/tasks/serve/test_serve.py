"""The command: what it refuses before it loads anything, who may ask, and how it ends."""

from __future__ import annotations

import argparse
import http.client
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from shared.config import load_config
from shared.errors import UserError
from tests.trainer.detectors import write_stage_1
from tests.trainer.runs import ROOT
from tests.trainer.tasks.serve.served import SECONDS, Served, multipart, words_of
from trainer.__main__ import parse
from trainer.tasks import Request, serve

TOKEN = "open sesame, please"


def run(folder: Path, *words: str) -> None:
    """The command in this process, as far as it comes."""
    config, weights = write_stage_1(folder)
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    options = parser.parse_args(["--checkpoint", str(weights), *words])
    serve.run(Request(load_config(str(config)), folder, None, None, lambda _: None, options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: others can reach it; give a --token"),
        (["--token", "short"], "--token: it can be guessed; expected 12 letters or more"),
        (["--rate", "-1"], "--rate -1: expected"),
        (["--port", "70000"], "--port 70000: expected a number below 65536"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid .*choose another"),
        (["--port", "0", "--report", "/nowhere/r.html"], "--report /nowhere/r.html: no such file"),
        (["--port", "0", "--clip", "/nowhere/RN50.pt"], "--clip: this detector .* names none; leave it out"),
        (["--port", "0", "--vocabulary", "/nowhere/F.npy"], "/nowhere/F.npy"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_served(words: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        run(tmp_path, *words)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: Address already in use; choose another"):
            run(tmp_path, "--port", str(port))


def test_a_package_that_is_missing_is_named_with_what_installs_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match=r"serve needs uvicorn; pip install 'unidetector-jittor\[trainer\]'"):
        run(tmp_path)


def test_others_need_the_token_and_what_was_asked_before_sigterm_is_answered(tmp_path: Path, photos: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<style>b { color: red }</style>the first")
    options = ("--host", "0.0.0.0", "--token", TOKEN, "--report", str(report))
    served = Served(tmp_path, *words_of(write_stage_1(tmp_path)), *options)
    assert "#token=TOKEN" in served.text and TOKEN not in served.text
    picture = photos / "images" / "01.jpg"
    for token in ("", "Bearer", f"Bearer {TOKEN[:-1]}"):
        for method, path in (("POST", "/detect"), ("GET", "/vocabulary"), ("GET", "/metrics"), ("GET", "/report.html")):
            assert served.ask(method, path, Authorization=token).status == 401
    assert served.ask("GET", "/healthz").status == served.ask("GET", "/").status == 200
    bearer = f"Bearer {TOKEN}"
    about = served.ask("GET", "/vocabulary", Authorization=bearer).content
    report.write_text("<style>b { color: red }</style>run again")
    told = served.ask("GET", about["report"])  # a link carries no token
    assert told.status == 200 and told.body.endswith(b"run again") and TOKEN not in about["report"]
    assert "style-src 'unsafe-inline'" in told.headers["content-security-policy"]
    assert "script-src" not in told.headers["content-security-policy"]
    assert about["vocabularies"] == [{"name": "object", "names": ["object"]}] and not about["takes_names"]
    assert served.detect(picture, AUTHORIZATION=bearer).content["annotations"][0]["name"] == "object"
    assert served.detect(picture, names=("cat",), AUTHORIZATION=bearer).status == 422

    waiting = []
    for _ in range(8):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=SECONDS)
        body, kind = multipart([("image", ("01.jpg", picture.read_bytes()))])
        connection.request("POST", "/detect", body, {"Content-Type": kind, "Authorization": bearer})
        waiting.append(connection)
    assert served.ask("GET", "/healthz").status == 200  # those before have been let in, too
    served.process.send_signal(signal.SIGTERM)
    assert [connection.getresponse().status for connection in waiting] == [200] * 8
    assert served.process.wait(SECONDS) == 0  # a second signal would end it at once
    assert "ending: " in served.text and "Traceback" not in served.text, served.text


def test_the_command_that_the_demo_ends_with_names_the_weights_that_it_leaves() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    options = parse(["serve", *re.search(r"^SERVED := (.*)$", makefile, re.MULTILINE)[1].split()])
    stage_1, weights_1 = options.proposals_from
    recipe = {"cln.py": "stage_1", "stage_2.py": "stage_2"}  # config -> step of open_world.py
    for config, weights in (("stage_2.py", options.checkpoint), (Path(stage_1).name, weights_1)):
        epochs = load_config(str(ROOT / "configs/demo" / config)).train_cfg.max_epochs
        assert weights == f"work_dirs/open_world/{recipe[config]}/epoch_{epochs}.safetensors"
    assert 'in a browser: $(RUN) -m trainer serve $(SERVED)"\n\n' in (ROOT / "Makefile").read_text()
