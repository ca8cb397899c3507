"""Writes a checkpoint as a ``.pth`` file that PyTorch, MMDetection and the PyTorch UniDetector load.

The config's model is built first, so what is written is complete, has that model's names and shapes, and carries the
text embeddings of the config's vocabulary. Needs no data server.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.command_line import GOOD
from shared.files import ANOTHER_OUT, save
from trainer.tasks import Request, add_checkpoint

NEEDS_SERVER = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="F.pth", help="the file to write")


def run(request: Request) -> int:
    """Writes the weights.

    Raises:
        UserError: there is no checkpoint, it does not fit the config's model, or the file cannot be written.
    """
    from trainer.evaluation.evaluate import load_model
    from trainer.weights import checkpoint
    from trainer.weights.formats import torch_writer

    out, say = request.options.out, request.say
    path = checkpoint.chosen(request.options.checkpoint, request.work_dir, "export")
    arrays = load_model(request.config, path, say).state_dict(to="numpy")
    save(out, torch_writer.dumps(arrays), ANOTHER_OUT)
    total = sum(array.size for array in arrays.values())
    say(f"{out}: {len(arrays)} tensors, {total:,} numbers, from {path}")
    return GOOD
