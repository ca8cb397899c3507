"""Samplers and batch samplers of a config: what is refused, and what a stream is told."""

import pytest
from mmengine.config import Config

from shared.errors import UserError
from shared.samplers import check_samplers, sampling, shares

STEPS = "train_cfg = dict(type='IterBasedTrainLoop', max_iters=9)\n"


def check(text):
    check_samplers(Config.fromstring(text, ".py"))


@pytest.mark.parametrize(
    "text",
    [
        STEPS + "train_dataloader = dict(sampler=dict(type='mmengine.InfiniteSampler', shuffle=True))",
        STEPS + "train_dataloader = dict(sampler=dict(type='InfiniteSampler'), drop_last=True, num_batch_per_epoch=4)",
        STEPS + "train_dataloader = dict(batch_sampler=dict(type='BatchSampler', drop_last=True), "
        "sampler=dict(type='mmdet.GroupMultiSourceSampler', batch_size=5, source_ratio=[1, 4]))",
        "train_dataloader = dict(sampler=dict(type='InfiniteSampler'))",  # without a loop there is nothing to train
        "train_dataloader = dict(sampler=dict(type='ClassAwareSampler', num_sample_class=2, seed=None), "
        "batch_sampler=dict(type='AspectRatioBatchSampler', drop_last=True))",
        "train_dataloader = dict(sampler=dict(type='CustomSampleSizeSampler', dataset_size=[-1, 5000], round_up=True))",
        "train_dataloader = dict(sampler=dict(type='CustomSampleSizeSampler', dataset_size=[0.1], ratio_mode=True))",
        "train_dataloader = dict(sampler=dict(type='DefaultSampler'), drop_last=True)",
        "train_dataloader = dict(batch_size=2, batch_sampler="
        "dict(type='MultiDataAspectRatioBatchSampler', num_datasets=2, batch_size=[2, 2], drop_last=False))",
        "val_dataloader = dict(drop_last=False, sampler=dict(type='DefaultSampler', shuffle=False, round_up=False))",
        "train_dataloader = dict(drop_last=False, batch_sampler=dict(type='AspectRatioBatchSampler', drop_last=True))",
    ],
)
def test_what_is_built_is_accepted(text):
    check(text)


BY_DATA_SET = "dict(type='MultiDataAspectRatioBatchSampler'"
REFUSED = [
    (
        "dict(sampler=dict(type='InfinteSampler'))",
        "'train_dataloader.sampler.type' is 'InfinteSampler', .*InfiniteSampler",
    ),
    ("dict(sampler=dict(type='TrackImgSampler'))", "'TrackImgSampler', which is not supported: .*videos are not fed"),
    (
        "dict(sampler=dict(type='InfiniteSampler'))",
        "'InfiniteSampler', .* it never ends an epoch: set train_cfg=.*Iter",
    ),
    ("dict(sampler=dict(type='ClassAwareSampler', num_samples_class=2))", "did you mean 'num_sample_class'"),
    ("dict(sampler=dict(type='ClassAwareSampler', num_sample_class=0))", "num_sample_class' is 0; expected 1 or more"),
    (
        "dict(sampler=dict(type='ClassAwareSampler', shuffle=True))",
        "sampler: unknown key 'shuffle'; known: num_sample_c",
    ),
    ("dict(sampler=dict(type='DefaultSampler', num_sample_class=2))", "sampler: unknown key 'num_sample_class'"),
    ("dict(sampler=dict(type='ClassAwareSampler', seed=3))", "sampler.seed' is 3, .*set randomness.seed"),
    ("dict(sampler=dict(type='CustomSampleSizeSampler'))", "sampler.dataset_size' is missing: CustomSampleSizeSampler"),
    ("dict(sampler=dict(type='CustomSampleSizeSampler', dataset_size=[0.5]))", "0.5: expected a whole .* ratio_mode"),
    ("dict(sampler=dict(type='CustomSampleSizeSampler', dataset_size=[-2]))", r"is \[-2\]; expected a list of numbers"),
    (
        "dict(batch_sampler=dict(type='TrackAspectRatioBatchSampler'))",
        "only AspectRatioBatchSampler .* and BatchSampler",
    ),
    (
        f"dict(batch_size=2, batch_sampler={BY_DATA_SET}, num_datasets=2, batch_size=[2, 3]))",
        r"is \[2, 3\], .*of one size",
    ),
    (
        f"dict(batch_size=2, batch_sampler={BY_DATA_SET}, num_datasets=2))",
        "batch_sampler.batch_size' is missing: MultiD",
    ),
    (f"dict(batch_sampler={BY_DATA_SET}, num_dataset=2))", "did you mean 'num_datasets'"),
    (
        f"dict(sampler=dict(type='ClassAwareSampler'), batch_sampler={BY_DATA_SET}, num_datasets=1, batch_size=[2]))",
        "MultiDataAspectRatioBatchSampler', .* only with DefaultSampler or InfiniteSampler",
    ),
    ("dict(batch_sampler=dict(type='AspectRatioBatchSampler', num_datasets=2))", "unknown key 'num_datasets'"),
    ("dict(batch_sampler=dict(type='AspectRatioBatchSampler', drop_lst=True))", "did you mean 'drop_last'"),
    (
        "dict(batch_sampler=dict(type='AspectRatioBatchSampler'), drop_last=True)",
        "drop_last' is True, .*set its drop_last",
    ),
    (
        "dict(sampler=dict(type='ClassAwareSampler'), num_batch_per_epoch=3)",
        "num_batch_per_epoch' is 3, .*only with Def",
    ),
    (
        "dict(sampler=dict(source_ratio=[1, 2]), num_batch_per_epoch=3)",
        "num_batch_per_epoch' is 3, .* without source_r",
    ),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_is_not_built_or_misspelt_is_refused_with_what_to_do(text, said):
    with pytest.raises(UserError, match=said) as caught:
        check(f"train_cfg = dict(max_epochs=2)\ntrain_dataloader = {text}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ("batch_size=5", "sampler.source_ratio' is missing: MultiSourceSampler needs it"),
        ("source_ratio=[1, 4]", "sampler.batch_size' is missing"),
        (
            "batch_size=4, source_ratio=[1, 9, 1]",
            r"that is \[1, 3, 0\] images .*each needs one at least; raise batch_size",
        ),
        ("batch_size=4, source_ratio=[]", "each needs one at least"),
    ],
)
def test_a_draw_that_mmdetection_would_never_finish_is_refused(sampler, said):
    with pytest.raises(UserError, match=said):
        check(f"{STEPS}train_dataloader = dict(sampler=dict(type='MultiSourceSampler', {sampler}))")


def test_a_draw_from_several_data_sets_is_not_put_into_groups_a_second_time():
    grouped = "batch_sampler=dict(type='AspectRatioBatchSampler')"
    with pytest.raises(UserError, match=r"batch_sampler.type' .* set batch_sampler=None, and GroupMultiSourceSampler"):
        check(
            f"{STEPS}train_dataloader = dict({grouped}, sampler=dict(type='MultiSourceSampler', batch_size=5, "
            "source_ratio=[1, 4]))"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampler=dict(type='ClassAwareSampler')", "only DefaultSampler: what is evaluated has each image once"),
        ("drop_last=True", "val_dataloader.drop_last' is True, .*every image is evaluated: remove it"),
        ("batch_sampler=dict(type='BatchSampler', drop_last=True)", "val_dataloader.batch_sampler.drop_last' is True"),
        ("num_batch_per_epoch=2", "val_dataloader.num_batch_per_epoch' is 2, .* set the data set's `indices`"),
    ],
)
def test_what_is_evaluated_is_every_image_once(text, said):
    with pytest.raises(UserError, match=said):
        check(f"val_dataloader = dict({text})")


def test_a_draw_has_mmdetections_numbers_of_images():
    assert shares(5, [1, 4]) == [1, 4] and shares(8, [1, 1, 1]) == [4, 2, 2] and shares(4, [0.5, 1.5]) == [1, 3]


def test_batches_of_whole_draws_of_one_shape_are_of_one_shape():
    def grouped(batch_size, **changes):
        sampler = {"type": "GroupMultiSourceSampler", "batch_size": 6, "source_ratio": [1, 2], **changes}
        return sampling({"batch_size": batch_size, "sampler": sampler}, "train")["group_by_aspect_ratio"]

    assert grouped(6) and grouped(3) and not grouped(4) and not grouped(12)
    assert not grouped(6, type="MultiSourceSampler")


def test_a_batch_sampler_that_only_cuts_makes_no_groups():
    loader = {"batch_size": 2, "batch_sampler": {"type": "BatchSampler", "drop_last": True}}
    part = sampling(loader, "train")
    assert part["drop_last"] and not part["group_by_aspect_ratio"]
    aspect = sampling({**loader, "batch_sampler": {"type": "mmdet.AspectRatioBatchSampler"}}, "train")
    assert aspect["group_by_aspect_ratio"] and not aspect["drop_last"]
    by_data_set = {"type": "MultiDataAspectRatioBatchSampler", "num_datasets": 2, "batch_size": [2, 2]}
    part = sampling({**loader, "batch_sampler": by_data_set}, "train")
    assert part["group_by_aspect_ratio"] and part["grouped_data_sets"] == 2 and part["drop_last"]
