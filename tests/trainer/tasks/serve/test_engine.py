"""Questions in a queue, and the one detector that answers them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.detectors import write_clip, write_stage_1, write_table
from trainer.api import Detector
from trainer.feed.loader import BadImage
from trainer.tasks.serve import engine as engine_module
from trainer.tasks.serve.engine import DEPTH, Busy, Engine, Question
from trainer.tasks.serve.meters import Meters
from trainer.tasks.serve.words import Words
from trainer.vocabulary import embeddings

OWN = Words(("own",), None)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector(*write_clip(tmp_path_factory.mktemp("engine"), "FasterRCNN"))


def value(meters: Meters, name: str) -> float:
    return float(meters.text().decode().partition(f"\n{name} ")[2].split()[0])


def answered(engine: Engine, *questions: Question) -> None:
    """Asks, and answers all of them in one batch."""
    for question in questions:
        engine.ask(question)
    engine.run(lambda: not all(question.answer.done() for question in questions))


def test_who_asks_the_same_about_a_picture_shares_one_detection(detector, photos: Path, tmp_path: Path) -> None:
    meters, said = Meters(), []
    engine = Engine(detector, {}, meters, said.append)
    one, two = ((photos / "images" / name).read_bytes() for name in ("01.jpg", "02.jpg"))
    others = embeddings.load(write_table(tmp_path, "others", ["cat", "dog"], seed=2))
    questions = [
        Question(one, "a.jpg", OWN),
        Question(two, "b.jpg", OWN),
        Question(one, "c.jpg", OWN),
        Question(one, "d.jpg", Words(("others",), others)),
    ]
    answered(engine, *questions)
    assert value(meters, "detector_detection_seconds_count") == 3
    assert value(meters, "detector_batch_questions_sum") == 4 and value(meters, "detector_batch_questions_count") == 1
    first, _, third, fourth = (question.answer.result() for question in questions)
    assert first.replace(b"a.jpg", b"c.jpg") == third and b'"name": "dog"' in fourth
    assert said == []


def test_a_picture_that_cannot_be_read_and_a_detector_that_fails_spoil_no_other_answer(
    detector, photos: Path, monkeypatch
) -> None:
    said: list[str] = []
    engine = Engine(detector, {}, Meters(), said.append)
    good = (photos / "images" / "01.jpg").read_bytes()
    bad = Question(good[: len(good) // 2], "half.jpg", OWN)
    fine = Question(good, "fine.jpg", OWN)
    answered(engine, bad, fine)
    assert fine.answer.result() and said == []
    with pytest.raises(BadImage, match=r"image 'half\.jpg': truncated"):
        bad.answer.result()

    def used_up(*_: object) -> None:
        raise RuntimeError("Unable to alloc")

    with monkeypatch.context() as patch:
        patch.setattr(detector, "detect", used_up)
        answered(engine, unlucky := Question(good, "unlucky.jpg", OWN))
    with pytest.raises(RuntimeError, match="Unable to alloc"):
        unlucky.answer.result()
    assert said == ["error: 'unlucky.jpg' could not be answered: RuntimeError: Unable to alloc"]
    answered(engine, after := Question(good, "fine.jpg", OWN))
    assert after.answer.result() == fine.answer.result()


def test_stage_1_looks_at_a_picture_once_whatever_names_are_asked_for(photos: Path, tmp_path: Path) -> None:
    stage_2 = write_clip(tmp_path, "FastRCNN", "BBoxHeadCLIPInference")
    detector, meters = Detector(*stage_2, proposals=write_stage_1(tmp_path)), Meters()
    engine = Engine(detector, {}, meters, print)
    one, two = ((photos / "images" / name).read_bytes() for name in ("01.jpg", "02.jpg"))
    others = embeddings.load(write_table(tmp_path, "others", ["cat", "dog"], seed=2))
    for content, words, looks in ((one, OWN, 1), (one, Words(("others",), others), 1), (two, OWN, 2), (one, OWN, 3)):
        answered(engine, question := Question(content, "a.jpg", words))
        speaker = detector if words.embeddings is None else detector.with_vocabulary(others)
        expected = speaker.detect(detector.decode(content, "a.jpg")).scores.tolist()
        assert [one["score"] for one in json.loads(question.answer.result())["annotations"]] == expected != []
        assert value(meters, "detector_proposal_seconds_count") == looks


def test_more_than_may_wait_are_turned_away_at_once(detector) -> None:
    engine = Engine(detector, {}, Meters(), print)
    for _ in range(DEPTH):
        engine.ask(Question(b"", "", OWN))
    with pytest.raises(Busy):
        engine.ask(Question(b"", "", OWN))


def test_of_many_vocabularies_the_last_ones_are_kept_and_every_answer_is_its_own(
    detector, photos: Path, monkeypatch
) -> None:
    monkeypatch.setattr(engine_module, "HEADS", 2)
    engine = Engine(detector, {}, Meters(), print)
    content = (photos / "images" / "01.jpg").read_bytes()
    rows = np.random.default_rng(0).standard_normal((4, detector.embedding_length)).astype(np.float32)
    vocabularies = [embeddings.NamedEmbeddings([f"name {row}"], rows[row : row + 1]) for row in range(len(rows))]
    for vocabulary in (*vocabularies, *vocabularies[:2]):
        answered(engine, question := Question(content, "a.jpg", Words(("", *vocabulary.names), vocabulary)))
        expected = detector.with_vocabulary(vocabulary).detect(detector.decode(content, "a.jpg"))
        found = [one["score"] for one in json.loads(question.answer.result())["annotations"]]
        assert found == expected.scores.tolist() and len(found) > 0
    assert len(engine._heads) == 2
