"""Writes the names of the rows of a file of text embeddings that came without them.

    F.npy, and a list of names or an annotation file  ──►  F.names.json

With the names beside it (`shared.embeddings`), a vocabulary is compared with data sets by name and not by number alone.
`data_server.commands.embed` writes them itself; UniDetector's published embeddings have none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_server.commands.embed import categories_of, names_of
from shared.command_line import add_renamed
from shared.embeddings import names_file, read_embeddings, write_names
from shared.errors import UserError
from shared.files import reported
from shared.terminal import show


def name_rows(embeddings: Path, names: list[str]) -> Path:
    """Writes the names of the rows of `embeddings` beside them.

    Returns:
        the file written.

    Raises:
        UserError: there are more or fewer names than rows, or the file cannot be written.
    """
    rows = len(read_embeddings(embeddings))
    if len(names) != rows:
        raise UserError(f"{embeddings} has {rows} rows, there are {len(names)} names; one for each row is expected")
    with reported(names_file(embeddings), "free some space or make the folder writable"):
        write_names(embeddings, names)
    return names_file(embeddings)


def main(argv: list[str]) -> None:
    """``python -m data_server names (--names-file F | --annotations A.json) --embeddings F.npy``."""
    parser = argparse.ArgumentParser(
        prog="python -m data_server names", description="Write the names of the rows of text embeddings beside them."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    from_text = which.add_argument("--names-file", type=Path, metavar="F.txt", help="one class name a line")
    add_renamed(which, "--names", from_text)
    which.add_argument("--annotations", type=Path, metavar="A.json", help="a COCO annotation file: its categories")
    parser.add_argument(
        "--embeddings",
        type=Path,
        required=True,
        metavar="F.npy",
        help="the one file whose rows these are",
    )
    options = parser.parse_args(argv)
    names = names_of(options.names_file) if options.names_file else categories_of(options.annotations)
    show(f"{name_rows(options.embeddings, names)}: {len(names)} names")
