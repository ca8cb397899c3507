"""Half precision: which maps are float16 or bfloat16 where a config asks for it, and the device has it.

    images ─ lowered ─► backbone ─► neck ─┬─► RPN's 3x3 ─ raised ─► 1x1, boxes, losses
                                          └─ raised ─ RoIAlign ─ lowered ─► shared head ─ raised ─► box head, losses

A map's type goes with it: a convolution takes its weights, which stay float32, in the type of its map, and sums in
float32; norms compute in float32 and round once. So do gradients on their way back, and those of parameters are
float32 again. What is sensitive or small is float32 all through: boxes, RoIAlign, what is compared with text
embeddings, losses, the update; and so is a backbone that does not say that it `computes_in_half`.

Micikevicius et al., "Mixed Precision Training"; torch's autocast, which has MMEngine's box heads in half as well.
"""

from __future__ import annotations

from mmengine.config import Config

from shared.config import half_precision
from trainer.device import jt, precision_of

FLOAT32 = "float32"


def in_type(x: jt.Var, dtype: object) -> jt.Var:
    """x (...), rounded to `dtype` where it has another."""
    return x if x.dtype == dtype else x.cast(dtype)


def raised(x: jt.Var) -> jt.Var:
    """x (...) as float32."""
    return in_type(x, FLOAT32)


def of_training(config: Config) -> str:
    """The type of maps that a config asks for in training, on this device; raises UserError if it has none such."""
    return precision_of(half_precision(config).get("optim_wrapper", FLOAT32))


def of_evaluation(config: Config, split: str) -> str:
    """The same for the evaluation of ``val`` or ``test``."""
    return precision_of(half_precision(config).get(f"{split}_cfg.fp16", FLOAT32))
