"""Whatever a pipeline draws from begins anew with each sample's seed."""

import random

import numpy as np
import pytest
import torch

from data_server.datasets.randomness import seed_everything

DRAWS = {"random": random.random, "numpy": np.random.random, "torch": lambda: torch.rand(3).tolist()}


class Held:
    """What albumentations' compositions are to a transform."""

    seed = None

    def set_random_seed(self, seed):
        self.seed = seed


class Transform:
    def __init__(self):
        self.held, self.other = Held(), 7


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_every_generator_yields_the_same_after_the_same_seed_and_something_else_after_another(draw):
    def after(seed):
        seed_everything(seed, [])
        return draw()

    first = after(7 << 32 | 1)
    assert draw() != first
    assert after(7 << 32 | 1) == first
    assert after(7 << 32 | 2) != first


def test_generators_that_a_transform_holds_are_seeded_too():
    transform = Transform()
    seed_everything(7 << 32 | 1, [transform])
    assert transform.held.seed == 1
