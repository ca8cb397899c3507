"""How much of MMDetection's own config zoo runs here, and whether what is delivered is what MMDetection makes.

    python -m benchmarks.conformance [ZOO] [PHOTOS] [--images N] [--most N] [--image-dtype float32]

    A  every config of ZOO is resolved, and checked as `python -m trainer` checks it: it passes, or a line says why not
    B  the training and validation data sets are cut out, over the photographs (`benchmarks.zoo`); equal ones are one.
       A training set whose pipeline is switched is there twice
    C  each is fed: the first N images through a stream of a data server …
    D  … and through MMDetection alone, in a process of its own, with the same seeds
    E  pictures, boxes, labels, crowds, sizes and scales are compared, to the last bit

=========== ==========================================================================================================
identical    to the last bit; *rounded*: the pipeline yields floats, and what is delivered are they, rounded to bytes;
             never with ``--image-dtype float32``
different    a fault
refused      by the data server, with a line; *both*: MMDetection cannot make these samples, either
crash        the server fails without a line for the user: a fault
=========== ==========================================================================================================

A pipeline of a validation set has its boxes in pixels of the file, where it loads them after resizing; they are
delivered in pixels of the image, and compared so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import zoo
from benchmarks.data_server_contender import open_stream
from benchmarks.rounds import REPOSITORY, RESULTS, Contender, machine, write_results
from benchmarks.standard_data import make_photographs
from benchmarks.zoo import Fed, Photographs
from data_server.handover.facts import DatasetFacts
from data_server.serving.plan import Plan
from shared.address import Address
from shared.class_names import with_names
from shared.client import ServerGone, StreamClient, StreamFailed
from shared.config import complete
from shared.data_part import from_plain
from shared.errors import UserError, described
from shared.messages import Hello

IDENTICAL, ROUNDED, DIFFERENT, REFUSED, BOTH, CRASH = (
    "identical",
    "identical, rounded",
    "different",
    "refused",
    "refused, both",
    "crash",
)
IMAGES = 12
_SEED = 7

Arrays = dict[str, np.ndarray]
Verdict = tuple[str, str]  # and what is to say about it


class Feeders:
    """A data server and MMDetection, which are asked for the same samples. Use as a context manager."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-")
        self._address = Address(f"ipc://{self._folder.name}/feed")
        self._theirs = Contender("MMDetection", "benchmarks.mmdetection_reference", {})
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "data_server", "--workers", "2", "--listen", self._address.text]
        self._server = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> Feeders:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()
        self._theirs.__exit__()
        self._folder.cleanup()

    def verdict(self, fed: Fed) -> Verdict:
        """What becomes of a data set."""
        hello = Hello("conformance", fed.part, _SEED, 0, 1, 0, 0, 0, 2)
        ours: list[Arrays] = []
        refusal = ""
        try:
            stream = open_stream(self._address, self._server, hello)
            try:
                images = stream.welcome.images
                ours += self._delivered(stream, min(self._images, images))
            except UserError as error:
                refusal = str(error)
            finally:
                stream.close()
        except UserError as error:
            images, refusal = self._images, str(error)
        except (ServerGone, StreamFailed) as error:
            if self._server.poll() is not None:
                self._start()
            return CRASH, str(error)
        theirs, failure = self._made(fed, images)
        if refusal:
            return (BOTH, failure) if failure else (REFUSED, refusal)
        if failure:
            return DIFFERENT, f"MMDetection fails: {failure}"
        return compared(ours, theirs, fed)

    def _delivered(self, stream: StreamClient, count: int) -> Iterator[Arrays]:
        for _ in range(count):
            lease = stream.next()
            assert lease is not None
            yield {name: array[0].copy() for name, array in lease.arrays.items()}
            lease.release()

    def _made(self, fed: Fed, images: int) -> tuple[list[Arrays], str]:
        plan = Plan.of(fed.part, DatasetFacts(np.zeros(images, np.uint8), 1, 0, 1, 1, "", [images], []), _SEED)
        batches = [plan.batch(step) for step in range(min(self._images, images))]
        file = Path(self._folder.name) / "theirs.npz"
        answer = self._theirs.ask(
            {
                "dataset": fed.part["dataset"],
                "custom_imports": fed.part["custom_imports"],
                "samples": [[batch.indices[0], batch.seeds[0]] for batch in batches],
                "file": str(file),
            }
        )
        with np.load(file) as found:
            names = {key.rpartition(" ")[0] for key in found}
            made = [{name: found[f"{name} {row}"] for name in names} for row in range(answer["made"])]
        return made, answer.get("error", "")


def compared(ours: list[Arrays], theirs: list[Arrays], fed: Fed) -> Verdict:
    """Whether the arrays of some samples are what MMDetection has made (`benchmarks.mmdetection_reference`)."""
    verdict = IDENTICAL
    for number, (here, there) in enumerate(zip(ours, theirs, strict=True)):
        image, scale = there["image"], np.tile(there["scale"].astype(np.float32), 2)[:4]
        if here["images"].dtype == np.float32:
            image = image.astype(np.float32)  # as MMDetection's preprocessor does
        elif image.dtype != np.uint8:
            verdict, image = ROUNDED, np.rint(np.clip(image.astype(np.float64), 0, 255))
        height, width = image.shape[:2]
        count, crowds = int(here["box_counts"]), int(here["ignored"].sum())
        of_file = fed.split == "val" and _loads_after_resizing(fed.part)
        factor = scale if of_file else np.float32(1)
        expected = {
            "pictures": (here["images"][:height, :width], image),
            "padding": (np.count_nonzero(here["images"]), np.count_nonzero(image)),
            "boxes": (here["boxes"][:count], there["boxes"] * factor),
            "crowds": (here["boxes"][count : count + crowds], there["crowds"] * factor),
            "labels": (here["labels"][:count], there["labels"]),
            "sizes": (here["image_shapes"], [height, width]),
            "sizes of files": (here["original_shapes"], there["shape"]),
            "scales": (here["scale_factors"], scale),
        }
        for name, (mine, other) in expected.items():
            if not np.array_equal(mine, other):
                return DIFFERENT, f"{name} of sample {number}"
    return verdict, ""


def _loads_after_resizing(part: dict[str, Any]) -> bool:
    dataset = from_plain(part["dataset"])
    while "pipeline" not in dataset:
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    names = [str(step["type"]) for step in dataset["pipeline"]]
    resized = [place for place, name in enumerate(names) if "Resize" in name]
    return "LoadAnnotations" in names and bool(resized) and names.index("LoadAnnotations") > resized[-1]


def check(files: list[Path], root: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The configs that can be resolved, by name, and what is said of each that does not pass."""
    configs, refused = {}, {}
    for file in files:
        name = str(file.relative_to(root))
        try:
            configs[name] = zoo.resolved(file)
        except Exception as error:
            refused[name] = f"is not resolved: {described(error)}"
            continue
        try:
            complete(with_names(configs[name]))
        except UserError as error:
            refused[name] = str(error)
    return configs, refused


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conformance", description="Feed MMDetection's config zoo, beside MMDetection."
    )
    parser.add_argument("zoo", nargs="?", type=Path, default=zoo.installed(), help="default: the installed one")
    parser.add_argument(
        "photographs", nargs="?", type=Path, help="a folder with images/ and a COCO annotation file (default: drawn)"
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="of each data set (default: %(default)s)")
    parser.add_argument("--most", type=int, help="only as many data sets, the most frequent (default: all)")
    parser.add_argument("--image-dtype", choices=("uint8", "float32"), default="uint8", help="feed.image_dtype")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        drawn, own = Path(folder, "drawn"), Path(folder, "own")
        own.mkdir()
        if options.photographs is None:
            make_photographs(drawn)
        photographs = Photographs.of(options.photographs or drawn, own)
        results = run(options.zoo, photographs, options.images, options.most, options.image_dtype)
    write_results(RESULTS / "conformance.json", results)


def run(
    root: Path, photographs: Photographs, images: int, most: int | None, image_dtype: str = "uint8"
) -> dict[str, Any]:
    """All of it; prints each verdict as it comes, and a table at the end."""
    files = zoo.files(root)
    configs, refused = check(files, root)
    print(f"{len(files)} configs, {len(configs)} are resolved, {len(files) - len(refused)} pass the check")
    for reason, count in Counter(refused.values()).most_common():
        print(f"{count:5}  {reason[:150]}")
    rows = []
    with Feeders(images) as feeders:
        for fed in list(zoo.fed_of(configs.items(), photographs))[:most]:
            fed.part["feed"]["image_dtype"] = image_dtype
            verdict, says = feeders.verdict(fed)
            rows.append({**vars(fed), "verdict": verdict, "says": says})
            print(f"{len(fed.configs):5}  {fed.split:5}  {verdict:18}  {fed.configs[0]}  {says[:150]}", flush=True)
    for split in zoo.SPLITS:
        _show(split, [row for row in rows if row["split"] == split])
    return {"machine": machine(), "refused": refused, "fed": rows}


def _show(split: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{split:24}{'data sets':>10}{'configs':>10}{'boxes only':>12}")
    for verdict in (IDENTICAL, ROUNDED, DIFFERENT, REFUSED, BOTH, CRASH):
        of = [row for row in rows if row["verdict"] == verdict]
        boxes = sum(len(row["configs"]) for row in of if row["boxes_only"])
        print(f"{verdict:24}{len(of):>10}{sum(len(row['configs']) for row in of):>10}{boxes:>12}")


if __name__ == "__main__":
    main()
