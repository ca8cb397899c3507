"""After the first steps on noise, training needs hardly any other kernel, however large its batches are."""

from __future__ import annotations

from mmengine.config import Config

from tests.trainer.models.examples import random_batch, small_model
from trainer.device import jit_kernel_count, jt
from trainer.models import build_detector
from trainer.training.optimizer import build_optimizer
from trainer.training.terms import packed, total_loss
from trainer.training.warm_up import noise, take_steps

CONFIG = Config(
    {
        "train_dataloader": {"batch_size": 8},
        "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 1e-3}, "clip_grad": {"max_norm": 10}},
    }
)


def test_training_finds_its_kernels() -> None:
    model = build_detector(small_model())
    model.train()
    take_steps(model, CONFIG)
    prepared = jit_kernel_count()
    optimizer = build_optimizer(CONFIG.optim_wrapper, model)
    for counts in ((3, 0, 17), (1, 2, 3, 4)):
        terms = model.loss(random_batch(160, 224, counts))
        norm = optimizer.step(total_loss(terms))
        values = packed([*terms.values(), norm])
        jt.sync_all()
        values.numpy()
    assert jit_kernel_count() == prepared


def test_noise_has_one_image_only_where_the_batch_has() -> None:
    assert [len(noise(Config(), images).host["image_ids"]) for images in (1, 2, 16)] == [1, 2, 2]
