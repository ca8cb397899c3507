"""A pipeline whose samples depend on more than image and seed is refused by name; one that does not is served."""

import pytest

from shared.errors import UserError
from tests.cluster import digests
from tests.photos import TRAIN_PIPELINE, config_of

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
CUSTOM = {"imports": ["tests.data_server.transforms"]}


def config(photos, *steps, **more):
    return config_of(photos, pipeline=(LOAD, BOXES, RESIZE, *steps, FLIP, PACK), custom_imports=CUSTOM, **more)


@pytest.mark.parametrize("name", ["Remembering", "OwnGenerator", "Clock"])
def test_a_transform_that_is_no_function_of_the_seed_is_named(name, cluster, photos):
    with pytest.raises(UserError, match=rf"{name}'? .*two different samples of image .*take it out"):
        cluster.open(config(photos, {"type": name}))


def test_what_albumentations_does_is_looked_at_although_mmdetection_runs_it(cluster, photos):
    with pytest.raises(UserError, match=r"'Albu' of the pipeline makes two different samples of image"):
        cluster.open(config(photos, {"type": "OldAlbu"}))


def test_one_within_others_is_found(cluster, photos):
    nested = {"type": "RandomApply", "transforms": [{"type": "Remembering"}], "prob": 0.7}
    with pytest.raises(UserError, match="RandomApply"):
        cluster.open(config(photos, nested))


@pytest.mark.parametrize("kind", ["CachedMosaic", "CachedMixUp"])
def test_a_cache_within_another_transform_is_refused(kind, cluster, photos):
    within = {"type": "RandomApply", "transforms": [{"type": kind, "img_scale": (64, 64)}]}
    with pytest.raises(UserError, match=rf"transform '{kind}' mixes in images .* the data set's own pipeline"):
        cluster.open(config(photos, within))


@pytest.mark.parametrize("name", ["Pure", "Composed"])
def test_what_draws_from_seeded_generators_is_served(name, cluster, photos):
    first = digests(cluster.open(config(photos, {"type": name}), seed=3), 8)
    cluster.close_streams()
    assert digests(cluster.open(config(photos, {"type": name}), seed=3), 8) == first
    assert len(set(first)) > 1


@pytest.mark.parametrize("name", ["Deadly", "Rejecting"])
def test_samples_that_cannot_be_made_are_not_judged(name, cluster, photos):
    assert cluster.open(config(photos, {"type": name, "images": (103,)})).welcome.images
