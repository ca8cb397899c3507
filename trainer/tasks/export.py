"""``--task export``: a checkpoint as a ``.pth`` file that PyTorch, MMDetection and the PyTorch UniDetector load.

The config's model is built first, so what is written is complete, has that model's names and shapes, and carries the
text embeddings of the config's vocabulary. Needs no data server.
"""

from __future__ import annotations

from shared.config import section
from shared.errors import UserError
from shared.files import replace
from trainer.models import build_detector
from trainer.tasks import Request
from trainer.weights import checkpoint, pretrained
from trainer.weights.formats import torch_writer


def run(request: Request) -> int:
    """Writes the weights of a checkpoint, by default the work dir's latest, to ``--out``.

    Raises:
        UserError: there is no checkpoint, it does not fit the config's model, or the file cannot be written.
    """
    out, say = request.options.out, request.say
    path = request.checkpoint or checkpoint.latest(request.work_dir)
    if path is None:
        raise UserError(f"nothing to export: no checkpoint in {request.work_dir}; give one with --checkpoint FILE")
    model = build_detector(section(request.config, "model"))
    pretrained.load(path, model, say, complete=True)
    arrays = model.state_dict(to="numpy")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace(out, torch_writer.dumps(arrays))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; make room, or choose another --out") from error
    total = sum(array.size for array in arrays.values())
    say(f"{out}: {len(arrays)} tensors, {total:,} numbers, from {path}")
    return 0
