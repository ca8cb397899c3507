"""The table of docs/configs.md, made from `shared.config_keys`, `shared.samplers`, `shared.hook_keys` and
`shared.vis_backends`."""

from __future__ import annotations

from shared import config_keys, hook_keys, samplers, vis_backends
from shared.config_keys import REFUSED, Section

_SECTIONS: dict[str, Section] = {
    "": config_keys.TOP_LEVEL,
    "*_dataloader.": config_keys.DATALOADER,
    "*_dataloader.sampler.": samplers.SAMPLER,
    **{f"{name}.": keys for name, keys in samplers.SAMPLERS.items()},
    "*_dataloader.batch_sampler.": samplers.BATCH_SAMPLER,
    f"{samplers.BY_DATA_SET}.": samplers.DATA_SETS,
    "train_cfg.": config_keys.TRAIN_CFG,
    "val_cfg.": config_keys.VAL_CFG,
    "optim_wrapper.": config_keys.OPTIM_WRAPPER,
    "optim_wrapper.optimizer.": config_keys.OPTIMIZER,
    "optim_wrapper.paramwise_cfg.": config_keys.PARAMWISE_CFG,
    "optim_wrapper.clip_grad.": config_keys.CLIP_GRAD,
    "auto_scale_lr.": config_keys.AUTO_SCALE_LR,
    "randomness.": config_keys.RANDOMNESS,
    "env_cfg.": config_keys.ENV_CFG,
    "default_hooks.logger.": hook_keys.LOGGER,
    "default_hooks.checkpoint.": hook_keys.CHECKPOINT,
    "EMAHook.": hook_keys.EMA,
    "EarlyStoppingHook.": hook_keys.EARLY_STOPPING,
    "PipelineSwitchHook.": hook_keys.PIPELINE_SWITCH,
    "YOLOXModeSwitchHook.": hook_keys.MODE_SWITCH,
    "type=": hook_keys.HOOKS,
    "vis_backends.type=": vis_backends.BACKENDS,
    "WandbVisBackend.": vis_backends.WANDB,
    "WandbVisBackend.init_kwargs.": vis_backends.INIT,
}


def markdown() -> str:
    """One line for all keys of a section that have the same fate for the same reason."""
    rows = ["| Key | Fate | Accepted | What it sets; why not; what to do instead |", "| --- | --- | --- | --- |"]
    for place, keys in _SECTIONS.items():
        lines: dict[tuple[str, str, str], list[str]] = {}
        for key in keys:
            accepted = key.values.words if key.values else "nothing" if key.fate == REFUSED else "anything"
            fate = "refused otherwise" if key.fate == REFUSED and key.values else key.fate
            lines.setdefault((fate, accepted, key.says), []).append(f"`{place}{key.name}`")
        rows += [
            f"| {', '.join(names)} | {fate} | {accepted} | {says} |" for (fate, accepted, says), names in lines.items()
        ]
    return "\n".join(rows) + "\n"
