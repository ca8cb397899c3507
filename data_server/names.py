"""Says what the rows of an ``.npy`` file of text embeddings are called, where whoever made it did not.

    F.npy, and a list of names or an annotation file  ──►  F.names.json

With the names beside it, a vocabulary is checked against data sets by name and not by number alone, and its classes can
be asked for by name. `data_server.embed` writes them itself; UniDetector's published embeddings have none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_server.embed import categories_of, names_of
from shared.vocabulary_files import write_names


def main(argv: list[str]) -> None:
    """``python -m data_server names (--names FILE | --annotations A.json) --embeddings F.npy``."""
    parser = argparse.ArgumentParser(
        prog="python -m data_server names", description="Write the names of the rows of text embeddings beside them."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--names", type=Path, help="a text file with one class name a line")
    which.add_argument("--annotations", type=Path, metavar="A.json", help="a COCO annotation file: its categories")
    parser.add_argument("--embeddings", type=Path, required=True, metavar="F.npy", help="the rows")
    options = parser.parse_args(argv)
    names = names_of(options.names) if options.names else categories_of(options.annotations)
    print(f"{write_names(options.embeddings, names)}: {len(names)} names")
