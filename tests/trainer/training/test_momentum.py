"""A momentum that moves in every step, against torch's optimizers under MMEngine's schedulers."""

import pytest

from shared.errors import UserError
from shared.train_loop import TrainLoop
from tests.trainer.training.updates import ADAMW, SGD, STEPS, assert_equal, make_model, train, weights_of_torch
from trainer.device import jit_kernel_count
from trainer.training.optimizer import build_optimizer
from trainer.training.schedule import Schedule

DOWN = {"type": "LinearMomentum", "start_factor": 1.0, "end_factor": 0.1, "by_epoch": False}
UP = {"type": "PolyMomentum", "eta_min": 0.95, "power": 2.0, "by_epoch": False}
GONE = {"type": "CosineRestartMomentum", "periods": [4, 3, 20], "restart_weights": [1, 0, 1], "eta_min": 0.0}
MOMENTA = {  # optim_wrapper, and a scheduler that moves its momentum at every step
    "SGD": ({"optimizer": SGD}, DOWN),
    "SGD, Nesterov": ({"optimizer": SGD | {"nesterov": True}}, DOWN),
    "SGD dampened": ({"optimizer": SGD | {"dampening": 0.3}}, UP),
    "SGD from 0 on": ({"optimizer": SGD | {"momentum": 0.0}}, UP),
    "SGD, 0 for a time": ({"optimizer": SGD}, GONE | {"by_epoch": False}),
    "Adam": ({"optimizer": ADAMW | {"type": "Adam"}}, DOWN),
    "AdamW": ({"optimizer": ADAMW}, UP),
    "AdamW by the largest moments": ({"optimizer": ADAMW | {"amsgrad": True}}, GONE | {"by_epoch": False}),
}


@pytest.fixture(scope="module")
def weights_by_momenta() -> dict[str, dict[str, list]]:
    wrappers, schedules = ({name: pair[i] for name, pair in MOMENTA.items()} for i in (0, 1))
    return weights_of_torch(wrappers, schedules)


@pytest.mark.parametrize("name", MOMENTA)
def test_twenty_steps_with_another_momentum_each_give_the_weights_of_torch_by_the_same_kernels(
    name: str, weights_by_momenta: dict
) -> None:
    wrapper, scheduler = MOMENTA[name]
    model = make_model()
    optimizer = build_optimizer(wrapper, model)
    schedule = Schedule(scheduler, optimizer.base_rate, STEPS, TrainLoop.of({"max_epochs": 1}))
    optimizer.check(schedule)
    kernels = []
    for step in range(STEPS):
        assert optimizer.follow(schedule, step) == optimizer.base_rate
        train(model, optimizer, 1, step)
        kernels.append(jit_kernel_count())
    assert kernels[2] == kernels[-1]  # the second step finds the buffers filled
    assert_equal(model, weights_by_momenta[name])


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "said"),
    [
        (ADAMW, {"type": "PolyMomentum", "eta_min": 1.0}, "the momentum is 1 at step 90; it is the first of the betas"),
        (SGD | {"dampening": 0.3}, GONE, "the momentum is 0 at step 40, and not always; with .*dampening it has to st"),
    ],
)
def test_a_momentum_that_the_rule_cannot_follow_is_refused(optimizer: dict, scheduler: dict, said: str) -> None:
    built = build_optimizer({"optimizer": optimizer}, make_model())
    with pytest.raises(UserError, match=f"^param_scheduler: {said}"):
        built.check(Schedule([scheduler], built.base_rate, 10, TrainLoop.of({"max_epochs": 10})))
