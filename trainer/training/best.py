"""The best checkpoints of a run: MMEngine's ``default_hooks.checkpoint.save_best``.

    save_best='coco/bbox_mAP'   that metric of the first split, by the detector's own scores
    save_best=['a', 'b']        a file for each
    save_best='auto'            the first metric of the evaluation

The file is ``best_<metric>_epoch_<N>.safetensors``, with by_epoch=False, or where a run counts steps,
``best_<metric>_iter_<N>.safetensors``; a better one takes its place. It has weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.errors import UserError
from shared.hook_keys import listed
from trainer.training.comparison import GREATER_KEYS, LESS_KEYS, WORST, better, find, no_metric, rule_of

_WHERE = "default_hooks.checkpoint"
_AUTO = "auto"


class NewBest(NamedTuple):
    """A metric's best score so far: the file that gets the weights, and the one that had the best until now."""

    metric: str
    score: float
    file: str
    former: str | None


class Best:
    """What is the best so far.

    Attributes:
        state: by metric ``{"score": s, "file": f}``, for a checkpoint; as set, it goes on from there.
    """

    def __init__(self, hook: Mapping[str, Any], counts_epochs: bool = True) -> None:
        """`hook` is ``default_hooks.checkpoint``, whose values `check_hooks` has accepted; `counts_epochs`: whether
        the run does.

        Raises:
            UserError: no rule, or not one for each metric.
        """
        self.state: dict[str, dict[str, Any]] = {}
        self._unit = "epoch" if counts_epochs and hook.get("by_epoch", True) else "iter"
        self._keys = [
            listed(hook[key]) if hook.get(key) is not None else default
            for key, default in (("greater_keys", GREATER_KEYS), ("less_keys", LESS_KEYS))
        ]
        metrics, rules = listed(hook.get("save_best") or []), listed(hook.get("rule"))
        if len(rules) == 1:
            rules *= len(metrics)
        if metrics and len(rules) != len(metrics):
            raise UserError(
                f"{_WHERE}.rule has {len(rules)} rules for {len(metrics)} metrics; give one, or one for each"
            )
        self._metrics = dict(zip(metrics, rules, strict=False))
        for metric in self._metrics:
            if metric != _AUTO:
                self._rule(metric, metric)

    def __bool__(self) -> bool:
        """Whether any checkpoint is kept as the best."""
        return bool(self._metrics)

    def take(self, metrics: Mapping[str, float], epoch: int, step: int) -> list[NewBest]:
        """What an evaluation after `step` steps, `epoch` epochs, has made better.

        Raises:
            UserError: it has no such metric, or the first one does not tell what is better. Nothing is changed then.
        """
        named = {metric: self._named(metric, metrics) for metric in self._metrics}
        rules = {metric: self._rule(metric, name) for metric, name in named.items()}
        found = []
        for metric, name in named.items():
            before = self.state.get(name, {})
            if better(rules[metric], metrics[name], before.get("score", WORST[rules[metric]])):
                number = epoch if self._unit == "epoch" else step
                file = f"best_{name.replace('/', '_')}_{self._unit}_{number}.safetensors"
                self.state[name] = {"score": metrics[name], "file": file}
                found.append(NewBest(name, metrics[name], file, before.get("file")))
        return found

    def _named(self, metric: str, metrics: Mapping[str, float]) -> str:
        name = next(iter(metrics), None) if metric == _AUTO else find(metrics, metric)
        if name is None:
            raise no_metric(f"{_WHERE}.save_best", metric, metrics)
        return name

    def _rule(self, metric: str, name: str) -> str:
        return self._metrics[metric] or rule_of(f"{_WHERE}.rule", name, *self._keys)
