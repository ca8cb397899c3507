"""MMEngine's vis_backends: which are accepted, and what is said of the others."""

from __future__ import annotations

import inspect
import sys

import pytest
import wandb
from mmengine.config import Config

from shared.errors import UserError
from shared.vis_backends import INIT, check_vis_backends, wandb_backend

BASES = {"vis_backends": [{"type": "LocalVisBackend"}], "visualizer": {"type": "DetLocalVisualizer", "name": "v"}}


def config(*backends: object, **others: object) -> Config:
    return Config({"visualizer": {"type": "DetLocalVisualizer", "vis_backends": list(backends)}, **others})


@pytest.mark.parametrize("kind", ["MLflow", "ClearML", "Neptune", "DVCLive", "Aim"])
@pytest.mark.parametrize("scope", ["", "mmengine."])
def test_a_backend_that_is_not_there_is_refused_by_name_with_what_to_do(kind: str, scope: str) -> None:
    with pytest.raises(UserError, match=rf"'visualizer.vis_backends\[1\]' is '{kind}.*not supported: remove it: "):
        check_vis_backends(config({"type": "LocalVisBackend"}, {"type": f"{scope}{kind}VisBackend"}))


def test_a_backend_of_the_users_own_is_refused() -> None:
    with pytest.raises(UserError, match=r"'vis_backends\[0\]' is 'my.Backend', which is not supported"):
        check_vis_backends(Config({"vis_backends": [{"type": "my.Backend"}]}))


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ({"type": "WandVisBackend"}, r"is 'WandVisBackend'.*did you mean 'WandbVisBackend'"),
        ({}, r"'vis_backends\[0\]': expected a dict with 'type'"),
        ({"type": "WandbVisBackend", "comit": True}, "unknown key 'comit'"),
        ({"type": "WandbVisBackend", "commit": False}, "commit' is False, which is not supported: .*remove it"),
        (
            {"type": "WandbVisBackend", "watch_kwargs": {"log": "all"}},
            "watch_kwargs' is .*modules: remove it",
        ),
        (
            {"type": "WandbVisBackend", "init_kwargs": {"projekt": "x"}},
            r"init_kwargs: unknown key 'projekt'.*'project",
        ),
        ({"type": "WandbVisBackend", "init_kwargs": {"mode": "of"}}, "mode' is 'of'; expected 'online' or 'offline'"),
        ({"type": "WandbVisBackend", "init_kwargs": {"resume": "must"}}, "resume' is 'must'.*`--resume` goes on"),
        (
            {"type": "WandbVisBackend", "define_metric_cfg": [{}]},
            "define_metric_cfg' is .*expected a dict",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named(backend: dict, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        check_vis_backends(Config({"vis_backends": [backend]}))
    assert "\n" not in str(caught.value)


def test_weights_and_biases_is_found_in_the_visualizer_and_beside_it() -> None:
    ours = {"type": "mmengine.visualization.WandbVisBackend", "init_kwargs": {"mode": "offline"}}
    assert wandb_backend(config(ours)) == ours
    assert wandb_backend(Config({**BASES, "vis_backends": ours})) == ours
    assert wandb_backend(config({"type": "WandbVisBackend"}, vis_backends=[ours])) == {"type": "WandbVisBackend"}
    for one in (BASES, {}, {"visualizer": None, "vis_backends": None}):
        check_vis_backends(Config(one))
        assert wandb_backend(Config(one)) is None


def test_without_the_package_there_is_one_line_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    asked = config({"type": "LocalVisBackend"}, {"type": "WandbVisBackend"})
    check_vis_backends(asked)  # what does not train needs none
    with pytest.raises(UserError, match=r"vis_backends\[1\]' is .*; pip install 'unidetector-jittor\[wandb\]'$"):
        wandb_backend(asked)


def test_every_key_of_wandb_init_is_decided_on() -> None:
    assert {key.name for key in INIT} == set(inspect.signature(wandb.init).parameters)
