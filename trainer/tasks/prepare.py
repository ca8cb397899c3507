"""Compiles the kernels that a config's training and detecting need, and does nothing else.

Needs no data, no weights and no vocabulary: it can run while they are being made, under ``nice``, and what comes later
finds its kernels in Jittor's cache. Kernels are compiled one by one, because Jittor lets only one process compile at a
time: one that needs a kernel at once waits for a single one of these.
"""

from __future__ import annotations

from shared.command_line import GOOD
from shared.config import section
from trainer.tasks import Request

NEEDS_SERVER = False


def run(request: Request) -> int:
    """Trains and detects with images of noise, as far as the config says how.

    Raises:
        UserError: the config's model or optimizer cannot be built.
    """
    from trainer.device import jit_kernel_count, jt
    from trainer.evaluation.readings import readings, uncalibrated
    from trainer.models import build_detector
    from trainer.models.precision import of_evaluation, of_training
    from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead
    from trainer.training.warm_up import noise, take_steps
    from trainer.vocabulary.stand_ins import with_stand_ins

    jt.flags.use_parallel_op_compiler = 0
    config = request.config
    with with_stand_ins(section(config, "model")) as (model_config, _):
        model = build_detector(model_config)
    if config.get("train_dataloader") and config.get("optim_wrapper"):
        model.trains_in = of_training(config)
        take_steps(model, config)
    split = "val" if config.get("val_dataloader") else "test"
    loader = config.get(f"{split}_dataloader")
    if loader:
        model.eval()
        model.predicts_in = of_evaluation(config, split)
        head = model.roi_head.bbox_head
        ways = readings(head, chance=isinstance(head, CLIPHead) and head.num_classes > 1)
        with jt.no_grad(), uncalibrated(head):
            model.predict_readings(noise(config, loader["batch_size"]), list(ways.values()))
            jt.sync_all()
    request.say(f"{jit_kernel_count()} kernels are compiled")
    return GOOD
