"""The server under load: ``make load``, after ``make demo``.

    python -m tests.trainer.tasks.serve.load --config C --checkpoint F ... [options of serve]

500 pictures of the demo from 16 clients, for two vocabularies in turn: every answer is what the server says to a lone
client, and from the 100th on the server's memory grows by 2 % at most. How long half of them wait is printed, and what
share that is of what they would wait if each were detected after the other; less where questions share a detection.
Then 1,000 wrong requests, bombs and bodies that are too large among them: each is answered with a 4xx, and the server
goes on as before.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.trainer.runs import ROOT
from tests.trainer.tasks.serve.served import Answer, Served
from tests.trainer.tasks.serve.wrong import wrong_requests
from trainer.tasks.serve.gate import MOST_BYTES

CLIENTS, REQUESTS, SETTLED, WRONG = 16, 500, 100, 1000
MOST_GROWTH = 0.02


def timed(ask, *arguments: object, **options: object) -> tuple[float, Answer]:
    started = time.monotonic()
    answer = ask(*arguments, **options)
    return time.monotonic() - started, answer


def main(options: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="load") as folder:
        server = Served(Path(folder), *options, "--rate", "0")
        try:
            return loaded(server, sorted((ROOT / "data/demo/val_base").glob("*.jpg"))[:8])
        finally:
            server.end()


def loaded(server: Served, pictures: list[Path]) -> int:
    memory = psutil.Process(server.process.pid).memory_info
    vocabularies = [one["name"] for one in server.ask("GET", "/vocabulary").content["vocabularies"]]
    questions = [(picture, name) for picture in pictures for name in vocabularies]
    lone = {asked: timed(server.detect, asked[0], vocabulary=asked[1]) for asked in questions * 2}
    alone = statistics.median(seconds for seconds, _ in lone.values())

    def ask(number: int) -> tuple[float, bool]:
        picture, name = questions[number % len(questions)]
        seconds, answer = timed(server.detect, picture, vocabulary=name)
        return seconds, answer.status == 200 and answer.content == lone[picture, name][1].content

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, range(SETTLED)))
        settled, started = memory().rss, time.monotonic()
        answers = list(clients.map(ask, range(REQUESTS)))
        seconds = time.monotonic() - started
    growth = memory().rss / settled - 1
    wrong_answers = sum(not right for _, right in answers)
    median = statistics.median(one for one, _ in answers)
    print(f"alone: {1000 * alone:.0f} ms; {CLIENTS} clients: {1000 * median:.0f} ms (median), ", end="")
    print(f"{REQUESTS / seconds:.1f} pictures/s, {wrong_answers} of {REQUESTS} wrong, memory {100 * growth:+.1f} %")
    print(
        f"{median / (CLIENTS * alone):.2f} of {CLIENTS} x alone, the wait where each picture passes the network alone"
    )

    photo = pictures[0].read_bytes()
    refused = [(status, body, kind) for status, _, body, kind in wrong_requests(photo)]
    refused.append((413, bytes(MOST_BYTES + 1), "application/json"))

    def ask_wrongly(number: int) -> tuple[float, int, bool]:
        status, body, kind = refused[number % len(refused)]
        seconds, answer = timed(server.ask, "POST", "/detect", body, Content_Type=kind)
        return seconds, answer.status, answer.status == status

    with ThreadPoolExecutor(4) as clients:
        answered = list(clients.map(ask_wrongly, range(WRONG)))
    as_before = server.detect(pictures[0], vocabulary=vocabularies[0]).content == lone[questions[0]][1].content
    print(f"{WRONG} wrong requests: {dict(sorted(Counter(status for _, status, _ in answered).items()))}, ", end="")
    print(f"slowest {1000 * max(one for one, _, _ in answered):.0f} ms, memory {memory().rss / settled - 1:+.1%}")
    good = not wrong_answers and growth <= MOST_GROWTH and all(right for *_, right in answered) and as_before
    print("good" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
