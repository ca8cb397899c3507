"""Shows the config's model as a table of shapes, parameters and what trains, and the device. Needs no data.

`trainer.models.summary` says what is in the table. The image has the size that the config tests with, and a vocabulary
that is not on the disk yet is replaced by zeros.
"""

from __future__ import annotations

from mmengine.config import Config

from shared.batch import padded
from shared.command_line import GOOD
from shared.config import section
from shared.terminal import show
from trainer.reporting.table import table
from trainer.tasks import Request

NEEDS_SERVER = False

SIZE = (800, 1344)  # height and width of the image, where the config tests with none of its own


def run(request: Request) -> int:
    """Prints the table, the totals and the device.

    Raises:
        UserError: the config's model cannot be built.
    """
    from trainer import device
    from trainer.models import build_detector, summary
    from trainer.vocabulary.stand_ins import EMBEDDING_LENGTH, with_stand_ins

    with with_stand_ins(section(request.config, "model")) as (config, missing):
        model = build_detector(config)
    if missing:
        request.say(
            f"described as if they were there, with embeddings of length {EMBEDDING_LENGTH}: {', '.join(missing)}"
        )
    height, width = image_size(request.config)
    show(f"{type(model).__name__}, in training, with one image of {height}x{width}:\n")
    show(table([summary.HEADER, *summary.rows(model, height, width)]))
    show(f"\n{summary.totals(model)}")
    show(device.describe())
    return GOOD


def image_size(config: Config) -> tuple[int, int]:
    """Height and width, padded as the config says, of the images that it tests with."""
    divisor = (section(config, "model").get("data_preprocessor") or {}).get("pad_size_divisor", 1)
    for split in ("val", "test"):
        dataset = (config.get(f"{split}_dataloader") or {}).get("dataset") or {}
        for step in reversed(dataset.get("pipeline", ())):
            if step["type"] == "Resize" and "scale" in step:
                width, height = step["scale"]
                return padded(height, divisor), padded(width, divisor)
    return SIZE
