"""The box head for several data sets: golden loss of the authors' code, and that vocabularies are kept apart."""

from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from tests.trainer.models.clip_examples import make_head, sampled_rois, write_vocabulary
from tests.trainer.models.examples import sequence
from trainer.device import jt, var
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead, Outputs


def make_partitioned(folder: Path, sizes: tuple[int, ...] = (5, 12), **changes: object) -> CLIPHead:
    paths = [write_vocabulary(folder, size, seed) for seed, size in enumerate(sizes)]
    several = {"type": "BBoxHeadCLIPPartitioned", "num_classes": max(sizes), "zeroshot_path": paths}
    return make_head(folder, **several, **changes)


def test_golden_losses(tmp_path: Path) -> None:
    head = make_partitioned(tmp_path, (80, 365), fed_loss_num_cat=1)
    # The second image has three RoIs, so its fourth slot is empty.
    scores = [sequence((7, 81), 5, 0.37)[:, :-1], sequence((7, 366), 5, 0.23)[:, :-1], np.zeros((7, 1), np.float32)]
    padded = [
        np.r_[x, x[-1:]] for x in (np.concatenate(scores, 1), sequence((7, 4), 1, 0.9), sequence((7, 4), 0.5, 0.4))
    ]
    sampled = sampled_rois(
        head, [[3, 17, 365, 365], [200, 3, 365, -1]], [[1, 1, 0, 0], [1, 1, 0, 0]], padded[2], [0, 1]
    )
    terms = head.loss(Outputs(var(padded[0]), var(padded[1])), sampled)
    assert terms["loss_cls"].item() == pytest.approx(2.828599, rel=1e-5)
    assert terms["loss_bbox"].item() == pytest.approx(1.609415, rel=1e-4)


def test_an_image_gives_no_gradient_to_classes_of_other_data_sets(tmp_path: Path) -> None:
    head = make_partitioned(tmp_path, fed_loss_num_cat=50)
    sampled = sampled_rois(head, [[3, 12], [3, 12]], [[1, 0], [1, 0]], np.zeros((4, 4), np.float32), [0, 1])
    logits = jt.randn(4, 18)
    loss = head.loss(Outputs(logits, jt.zeros((4, 4))), sampled)["loss_cls"]
    trained = jt.grad(loss, logits).numpy() != 0
    own = np.zeros((4, 18), bool)
    own[:2, :5] = own[2:, 5:17] = True
    np.testing.assert_array_equal(trained, own)


def test_every_image_weighs_the_same_however_many_rois_it_has(tmp_path: Path) -> None:
    head = make_partitioned(tmp_path, fed_loss_num_cat=50)
    many = sampled_rois(
        head, [[3, 12, 12, 12], [4, -1, -1, -1]], [[1, 0, 0, 0], [1, 0, 0, 0]], np.zeros((8, 4), "f"), [1, 1]
    )
    logits = np.repeat(np.array([0, 2], np.float32), 4)[:, None] * np.ones((1, 18), np.float32)
    loss = head.loss(Outputs(var(logits), jt.zeros((8, 4))), many)["loss_cls"]
    # Each of 12 classes: a logit of 0 costs ln 2, one of 2 costs ln(1 + e^2), or ln(1 + e^-2) where it is the label.
    of_images = 12 * np.log(2), 11 * np.log1p(np.exp(2)) + np.log1p(np.exp(-2))
    assert loss.item() == pytest.approx(np.mean(of_images), rel=1e-5)


def test_the_accuracy_looks_at_an_images_own_classes_only(tmp_path: Path) -> None:
    head = make_partitioned(tmp_path)
    logits = np.full((2, 18), -5, np.float32)
    logits[0, 3], logits[0, 9] = 1, 7  # class 3 of data set 0; a class of data set 1 has more
    logits[1, 5 + 2] = 1
    sampled = sampled_rois(head, [[3], [2]], [[1], [1]], np.zeros((2, 4), np.float32), [0, 1])
    assert head.loss(Outputs(var(logits), jt.zeros((2, 4))), sampled)["acc"].item() == 100


@pytest.mark.parametrize(("vocabulary", "columns"), [(0, slice(0, 5)), (1, slice(5, 17))])
def test_detections_are_of_the_vocabulary_asked_for(vocabulary: int, columns: slice, tmp_path: Path) -> None:
    head = make_partitioned(tmp_path, test_vocabulary=vocabulary)
    logits = jt.randn(1, 3, 18)
    proposals = var([[[0, 0, 9, 9, 0.5]] * 3], "float32")
    _, scores = head.detections(Outputs(logits, jt.zeros((1, 3, 4))), proposals, var([[64, 64]], "float32"))
    np.testing.assert_allclose(scores.numpy(), 1 / (1 + np.exp(-logits.numpy()[:, :, columns])), rtol=1e-5)


def host(labels: list[list[int]], counts: list[int], ids: list[int]) -> dict[str, np.ndarray]:
    return {"labels": np.array(labels), "box_counts": np.array(counts), "dataset_ids": np.array(ids)}


def test_labels_beyond_an_images_own_vocabulary_are_refused_and_padding_is_not_looked_at(tmp_path: Path) -> None:
    head = make_partitioned(tmp_path)
    head.check_labels(host([[4, 99], [11, 11]], [1, 2], [0, 1]))
    with pytest.raises(UserError, match=r"a box of data set 0 .* has label 5, the box head has 5 classes for it"):
        head.check_labels(host([[11, 0], [4, 5]], [1, 2], [1, 0]))


def test_an_image_of_a_data_set_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 vocabularies, but the batch has an image of data set 2"):
        make_partitioned(tmp_path).check_labels(host([[0], [0]], [1, 1], [0, 2]))


def test_wrong_values_are_refused_by_their_full_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bbox_head: zeroshot_path and cat_freq_path should be lists"):
        make_partitioned(tmp_path, cat_freq_path=[None])
    with pytest.raises(UserError, match=r"bbox_head\.test_vocabulary: 0 to 1 is expected, found 2"):
        make_partitioned(tmp_path, test_vocabulary=2)


def test_every_data_set_is_compared_with_its_own_vocabulary_and_detections_with_the_one_asked_for(
    tmp_path: Path,
) -> None:
    head = make_partitioned(tmp_path, (2, 3), test_vocabulary=1)
    two, three = ["cat", "dog"], ["cat", "bus", "owl"]
    for vocabulary, names in zip(head.vocabularies, (two, three), strict=True):
        vocabulary.names = names
    head.check_classes([two, three], training=True)
    head.check_classes([three], training=False)
    with pytest.raises(UserError, match=r"data set 1 \(counted from 0\); row 2 is for 'owl', class 2 is 'cow'"):
        head.check_classes([two, ["cat", "bus", "cow"]], training=True)
    with pytest.raises(UserError, match=r"has 3 rows, data set 0 \(counted from 0\) has 2 classes; row 1 is for 'bus'"):
        head.check_classes([two], training=False)


def test_a_training_data_set_without_a_vocabulary_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 2 vocabularies, train_dataloader.dataset has a data set 2"):
        make_partitioned(tmp_path).check_classes([["x"] * 5, ["x"] * 12, ["x"]], training=True)
