"""What is in the caches of MMDetection's transforms before each sample."""

import random
from types import SimpleNamespace

import numpy as np
import torch

from data_server.datasets.cached import Caches, drawn


class Data:
    """Images 0, 1, 2, of which a transform may reject some."""

    max_refetch = 9

    def __len__(self):
        return 3

    def get_data_info(self, index):
        return {"image": index, "draws": [random.random(), np.random.random(), torch.rand(1).item()]}

    def _rand_another(self):
        return np.random.randint(3)


def caches(begun, rejects=()):
    """The caches of a pipeline of three steps, the second of which has one; and that step."""
    step = SimpleNamespace(results_cache=[], max_cached_images=4)
    steps = [lambda results: None if results["image"] in rejects else results, step, lambda results: results]
    return Caches(Data(), steps, begun.append), step


def test_a_cache_has_no_image_twice_before_it_has_all():
    draws = random.Random(1)
    held = [place for place, _ in drawn(7, 3, draws)]
    assert sorted(held[:3]) == sorted(held[3:6]) == [0, 1, 2] and len(held) == 7
    assert len({place for place, _ in drawn(40, 118_000, draws)}) == 40


def test_only_what_is_looked_at_is_made_once_and_generators_stay_where_they_were():
    begun = []
    filled, step = caches(begun)
    random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    filled.fill()
    assert len(step.results_cache) == 4 and not begun
    found = step.results_cache[2]
    assert step.results_cache[2] is found and begun == [found["image"]]
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    random.random()
    assert step.results_cache[1]["draws"] != found["draws"]
    random.seed(3)
    filled.fill()
    assert step.results_cache[2] == found


def test_the_place_of_a_rejected_image_is_another_ones():
    filled, step = caches([], rejects=(0, 1))
    filled.fill()
    assert {step.results_cache[number]["image"] for number in range(4)} == {2}


def test_what_wrappers_repeat_is_there_as_often():
    filled, step = caches([])
    filled.places = np.array([1, 1, 1, 2])
    filled.fill()
    assert sorted(step.results_cache[number]["image"] for number in range(4)) == [1, 1, 1, 2]
