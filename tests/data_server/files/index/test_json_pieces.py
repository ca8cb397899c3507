"""Files are cut where records end, whatever stands in them, and refused where that cannot be told."""

import contextlib
import gc
import json
import os
import sys

import msgspec
import pytest

from data_server.files.index import json_pieces
from data_server.files.index.json_pieces import JsonFile, Unfit, record
from tests.data_server import annotation_files

DECODER = msgspec.json.Decoder(list[msgspec.Raw])


def read(path, text):
    """The file's lists of records as `JsonFile` cuts them, once by the pieces and once by the places."""
    path.write_text(text, encoding="utf-8") if isinstance(text, str) else path.write_bytes(text)
    descriptor = os.open(path, os.O_RDONLY)
    found = {"images": [], "annotations": []}

    def taker(name):
        def take(records, places, lengths):
            for raw, place, length in zip(records, places, lengths, strict=True):
                assert record(descriptor, int(place), int(length)) == bytes(raw)
                found[name].append(json.loads(bytes(raw)))

        return DECODER, take

    try:
        rest = JsonFile(descriptor, lambda _: None).read({name: taker(name) for name in found}, ["categories"])
    finally:
        os.close(descriptor)
    return found | rest


@pytest.mark.parametrize("piece", [16, 200, 4096, 1 << 20])
def test_every_record_is_found_in_pieces_of_any_size(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(json_pieces, "_PIECE", piece)
    for seed in range(60):
        text = annotation_files.text(seed)
        expected = {key: json.loads(text)[key] for key in ("images", "annotations", "categories")}
        assert read(tmp_path / "a.json", text) == expected, seed


@pytest.mark.parametrize(
    "records",
    [
        [{"a": "}, {"}] * 9,
        [{"a": '"}, {"a": "'}] * 9,
        [{"a": [{"a": 1}, {"a": 2}]}] * 9,
        [{"b": [{"c": 1}] * 30}] * 9,
        [{"a": {"a": {"a": [{}, {}]}}}] * 9,
        [{}, {"a": 1}, {}],
        [{"a": "\\"}, {"a": '\\"'}] * 9,
        [{"a": "x" * 500}] * 3,
        [],
    ],
)
def test_a_cut_within_a_text_or_a_record_is_not_taken(tmp_path, monkeypatch, records):
    monkeypatch.setattr(json_pieces, "_PIECE", 64)
    content = {"annotations": records, "images": records, "categories": []}
    for options in ({}, {"indent": 1}, {"separators": (",", ":")}):
        assert read(tmp_path / "a.json", json.dumps(content, **options)) == content


@pytest.fixture
def usual_recursion_limit():
    """The data server's; this process may have had a trainer's tests, and a trainer has ten times as much."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("usual_recursion_limit")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"images": [{}]',
        '{"images": [{}, ]}',
        '{"images": [{"a": 1}{"a": 2}]}',
        '{"images": [{"a": "}, {"}, {"a": "b]}',
        '{"images": {}}',
        '{"images": [], "images": []}',
        '{"images": []} x',
        '{"images": [],}',
        '{"images": [NaN]}',
        '{"images": [{"a": NaN}]}',
        '{"info": tru}',
        "\ufeff{}",
        b'{"images": [{"a": "\xff"}]}',
        b'{"info": "\xff"}',
        '{"images": [' + '{"a":' * 3000 + "1" + "}" * 3000 + "]}",
        '{"images": [{"a": ' + "[" * 5000 + "]" * 5000 + "}]}",
    ],
)
def test_what_is_not_valid_is_refused(tmp_path, text):
    with pytest.raises(Unfit):
        read(tmp_path / "a.json", text)


@pytest.mark.parametrize("rest", ["", "}"])
def test_nobody_looks_for_circles_among_records_and_everybody_again_afterwards(tmp_path, rest):
    (tmp_path / "a.json").write_text('{"images": [{}, {}]}' + rest)
    descriptor, found = os.open(tmp_path / "a.json", os.O_RDONLY), []
    file = JsonFile(descriptor, lambda _: None)
    with contextlib.suppress(Unfit):
        file.read({"images": (DECODER, lambda *_: found.append(gc.isenabled()))}, [])
    os.close(descriptor)
    assert {*found} == {False} and gc.isenabled()


def test_a_record_that_is_longer_than_any_piece_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_pieces, "_PIECE", 64)
    monkeypatch.setattr(json_pieces, "_LARGEST", 256)
    with pytest.raises(Unfit, match="no end of a record"):
        read(tmp_path / "a.json", json.dumps({"images": [{"a": "x" * 5000}]}))
    with pytest.raises(Unfit, match="larger than"):
        read(tmp_path / "a.json", json.dumps({"info": "x" * 50000}))
