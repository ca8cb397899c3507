"""Writes proposals as the list that PyTorch's UniDetector reads.

``F.safetensors`` of ``python -m trainer propose`` becomes ``rp_train.pkl``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from data_server.files.proposal_file import ProposalFile
from data_server.files.proposal_list import write
from shared import coco
from shared.errors import UserError
from shared.terminal import show


def of_file(source: Path, annotation_file: Path) -> list[np.ndarray]:
    """The proposals of a file of ours in the order of the images of `annotation_file`, f32 (n,5) each.

    Raises:
        UserError: a file cannot be read, or an image has no proposals.
    """
    file = ProposalFile.open(source)
    rows = np.split(np.array(file.rows), np.cumsum(file.counts)[:-1])
    try:
        rows_of = {(identity, Path(name).name): own for (identity, name), own in zip(file.images, rows, strict=True)}
    except ValueError as error:
        raise UserError(
            f"proposal file {str(source)!r}: {error}; make it again with python -m trainer propose"
        ) from None
    images = coco.read(annotation_file, images=("id", "file_name"))["images"]
    keys = [(image["id"], Path(image["file_name"]).name) for image in images]
    missing = [key for key in keys if key not in rows_of]
    if missing:
        raise UserError(
            f"proposal file {str(source)!r}: none for {len(missing)} of the {len(keys)} images of {annotation_file}, "
            f"the first is {missing[0][1]!r}, id {missing[0][0]}; it was made for other images"
        )
    return [rows_of[key] for key in keys]


def main(argv: list[str]) -> None:
    """``python -m data_server proposals --file F.safetensors --annotations A.json --out rp_train.pkl``."""
    parser = argparse.ArgumentParser(
        prog="python -m data_server proposals",
        description="Write proposals as the list that PyTorch's UniDetector reads.",
    )
    parser.add_argument(
        "--file", type=Path, required=True, metavar="F.safetensors", help="what python -m trainer propose wrote"
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="A.json", help="whose images, in which order"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="rp.pkl", help="where the list goes")
    options = parser.parse_args(argv)
    proposals = of_file(options.file, options.annotations)
    write(options.out, proposals)
    show(f"{options.out}: {sum(map(len, proposals))} proposals of {len(proposals)} images")
