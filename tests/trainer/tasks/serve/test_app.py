"""The interface for programs, asked over HTTP: what it finds, and what it says to those who ask wrongly."""

from __future__ import annotations

import argparse
import base64
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.config import load_config
from tests.trainer.detectors import NAMES
from tests.trainer.tasks.serve.conftest import OTHER_NAMES, Place
from tests.trainer.tasks.serve.served import SECONDS
from tests.trainer.tasks.serve.wrong import wrong_requests
from trainer.tasks import Request, detect
from trainer.tasks.serve import openapi, uploads
from trainer.tasks.serve.gate import MOST_BYTES


def of_command_line(place: Place, picture: Path, work_dir: Path, **options: list) -> dict:
    """What ``python -m trainer detect`` writes."""
    nothing = {"images": [picture], "vocabulary": [], "names": [], "embeddings": [], "proposals_from": None}
    given = {"checkpoint": str(place.detector[1]), "score_threshold": None, "draw": False, "out": None}
    request = Request(
        load_config(str(place.detector[0])),
        work_dir,
        None,
        None,  # type: ignore[arg-type]
        lambda _: None,
        argparse.Namespace(**{**nothing, **given, **options}),
    )
    assert detect.run(request) == 0
    return json.loads((work_dir / "detections.json").read_text())


def test_an_answer_is_what_the_command_line_writes_digit_for_digit(place: Place, photos: Path, tmp_path: Path) -> None:
    picture = photos / "images" / "01.jpg"
    first, second = place.vocabularies.values()
    tables = [str(first), str(second)]
    for served, options in (
        ({}, {"vocabulary": [str(first)]}),
        ({"vocabulary": "more"}, {"vocabulary": [str(second)]}),
        ({"names": ("red STAR", "cat")}, {"names": ["red STAR", "cat"], "embeddings": tables}),
    ):
        answer = place.server.detect(picture, **served)
        assert answer.status == 200, answer.body
        expected = of_command_line(place, picture, tmp_path, **options)
        assert len(expected["annotations"]) > 0
        assert answer.content == expected


def test_json_and_forms_are_answered_alike_and_a_threshold_leaves_out_what_scores_less(
    place: Place, photos: Path
) -> None:
    content = (photos / "images" / "02.jpg").read_bytes()
    form = place.server.detect(content, name="a.jpg").content
    encoded = base64.b64encode(content).decode()
    for image in (encoded, f"data:image/jpeg;base64,{encoded}"):
        body = json.dumps({"image": image, "file_name": "a.jpg"}).encode()
        assert place.server.ask("POST", "/detect", body, Content_Type="application/json").content == form
    scores = [one["score"] for one in form["annotations"]]
    middle = sorted(scores)[len(scores) // 2]
    some = place.server.detect(content, name="a.jpg", score_threshold=repr(middle)).content["annotations"]
    assert [one["score"] for one in some] == [score for score in scores if score >= middle]


def test_the_vocabularies_are_listed_by_their_files_names(place: Place) -> None:
    about = place.server.ask("GET", "/vocabulary").content
    expected = [("vocabulary_FasterRCNN", NAMES), ("more", OTHER_NAMES)]
    assert [(one["name"], one["names"]) for one in about["vocabularies"]] == expected
    assert about["takes_names"] and not about["embeds_names"] and about["exif_orientation"]
    assert about["limits"]["bytes"] == MOST_BYTES and about["limits"]["pixels"] == uploads.MOST_PIXELS


def dicts_in(document: object) -> Iterator[dict]:
    """It and what it holds, at all depths."""
    if isinstance(document, dict):
        yield document
    for value in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from dicts_in(value)


def test_every_path_that_is_described_is_there_and_the_page_lists_it(place: Place) -> None:
    document = place.server.ask("GET", "/openapi.json").content
    page = place.server.ask("GET", "/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for schema in dicts_in(document):
        assert schema.get("type", "http") in ("object", "array", "string", "number", "http")
        assert set(schema.get("required", ()) if "properties" in schema else ()) <= set(schema.get("properties", ()))
    for method, path, _ in openapi.operations():
        assert method.lower() in document["paths"][path] and f"{method} {path}" in page.body.decode()
        answer = place.server.ask(method, path)
        assert answer.status == (415 if method == "POST" else 200)
        (kind,) = document["paths"][path][method.lower()]["responses"]["200"]["content"]
        assert method == "POST" or answer.headers["content-type"].startswith(kind)
        assert method != "POST" or answer.content["error"].startswith("content-type '': expected multipart/form-data")
    answers = document["paths"]["/detect"]["post"]["responses"]
    assert sorted(answers) == ["200", "400", "401", "408", "413", "415", "422", "429", "503"]
    assert place.server.ask("GET", "/detect").status == 405 and place.server.ask("GET", "/nothing").status == 404


def test_a_name_without_a_row_is_answered_with_the_nearest_known_ones(place: Place, photos: Path) -> None:
    answer = place.server.detect(photos / "images" / "01.jpg", names=("red start", "Zyx"))
    assert answer.status == 422 and answer.content["nearest"] == {"red start": ["Red star", "red square"], "Zyx": []}
    assert "no text embedding of 'red start' (nearest: Red star, red square), 'Zyx'" in answer.content["error"]


def test_who_asks_wrongly_is_told_what_was_expected_and_nobody_else_notices(place: Place, photos: Path) -> None:
    photo = (photos / "images" / "03.jpg").read_bytes()
    before = place.server.detect(photo).content
    for status, says, body, kind in wrong_requests(photo):
        answer = place.server.ask("POST", "/detect", body, Content_Type=kind)
        assert answer.status == status, (answer.body, body[:80])
        assert says in answer.content["error"], (says, answer.content)
    assert place.server.ask("GET", "/healthz").content == {"status": "ok"}
    assert place.server.detect(photo).content == before


def test_a_body_that_is_too_large_is_refused_before_it_is_read(place: Place) -> None:
    answer = place.server.ask("POST", "/detect", bytes(MOST_BYTES + 1), Content_Type="application/json")
    assert answer.status == 413 and "larger than 16 MiB" in answer.content["error"]
    connection = http.client.HTTPConnection("127.0.0.1", place.server.port, timeout=SECONDS)
    pieces = (bytes(1 << 20) for _ in range(17))  # without a word about how many come
    connection.request("POST", "/detect", pieces, {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_page_of_somebody_elses_cannot_call_the_server_by_a_name_of_its_own(place: Place) -> None:
    assert place.server.ask("GET", "/vocabulary", Host="evil.example").status == 400
    assert place.server.ask("GET", "/vocabulary", Host="localhost").status == 200


def test_many_clients_at_once_get_each_its_own_answer_and_the_meters_count_them(place: Place, photos: Path) -> None:
    pictures = sorted((photos / "images").glob("*.jpg"))[:4]
    expected = {picture: place.server.detect(picture).content for picture in pictures}
    counted = 'detector_requests_total{path="/detect",status="200"} '

    def count() -> float:
        text = place.server.ask("GET", "/metrics").body.decode()
        return float(text.partition(counted)[2].split()[0])

    before = count()
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda number: place.server.detect(pictures[number % 4]), range(24)))
    for number, answer in enumerate(answers):
        assert answer.status == 200 and answer.content == expected[pictures[number % 4]]
    assert count() == before + 24
