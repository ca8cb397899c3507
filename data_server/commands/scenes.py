"""Makes the demo data set: drawn objects over photographs, in COCO's format."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_server.demo.scenes import generate
from shared.terminal import show


def main(argv: list[str]) -> None:
    """``python -m data_server scenes --out DIR [--seed N] [--train-images N] [--val-images N]``."""
    parser = argparse.ArgumentParser(prog="python -m data_server scenes", description="Generate the demo data set.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: %(default)s)")
    parser.add_argument("--train-images", type=int, default=400, help="in each of two sets (default: %(default)s)")
    parser.add_argument("--val-images", type=int, default=80, help="in each of two sets (default: %(default)s)")
    arguments = parser.parse_args(argv)
    generate(arguments.out, arguments.seed, arguments.train_images, arguments.val_images)
    show(f"{arguments.out}: two training sets of {arguments.train_images} images, two of {arguments.val_images}")
