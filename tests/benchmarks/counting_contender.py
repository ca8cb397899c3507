"""A contender whose child process computes for a fixed processor time per image."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.rounds import answer_rounds

CHILD = """
import sys, time
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end:
        pass
    print("done", flush=True)
"""


def main(seconds_per_image: float) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def handle(images: int) -> float:
        print(images * seconds_per_image, file=child.stdin, flush=True)
        child.stdout.readline()
        return images * seconds_per_image

    answer_rounds(handle)
    child.stdin.close()
    child.wait()


if __name__ == "__main__":
    main(json.loads(sys.argv[1])["seconds_per_image"])
