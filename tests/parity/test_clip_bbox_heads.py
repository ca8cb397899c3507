"""The CLIP box heads against the reference: attention pool, scores, targets, losses, gradients, detections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.clip_models import BBOX_HEAD, RCNN, build_roi_head, write_embeddings, write_image_counts
from tests.parity.models import batch_of, fill, gradients
from trainer.device import jt, var
from trainer.models.detections import read
from trainer.models.ops.multiclass_nms import read_multiclass_nms
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead
from trainer.models.roi_heads.standard_roi_head import SampledRoIs, StandardRoIHead, to_rois

HARD_NMS = {"score_thr": 0.05, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100}
MORE = {**RCNN, "max_per_img": 300}


@dataclass
class Scene:
    """A case's RoI head, filled, with its batch's sampled RoIs.

    Attributes:
        used: bool (B·K,), the slots that hold a RoI; in their order they are the case's RoIs.
        features: f32 (B·K,2048,7,7), zeros in empty slots.
    """

    case: golden.Case
    head: StandardRoIHead
    sampled: SampledRoIs
    used: np.ndarray
    features: jt.Var

    @property
    def bbox_head(self) -> CLIPHead:
        return self.head.bbox_head

    def per_image(self, values: np.ndarray) -> list[np.ndarray]:
        """Rows of RoIs, image by image."""
        image = self.case["in.rois"][:, 0]
        return [values[image == i] for i in range(2)]


def make_scene(case: golden.Case, bbox_head: dict, test_cfg: dict = RCNN) -> Scene:
    head = build_roi_head({**BBOX_HEAD, **bbox_head}, test_cfg)
    fill(head, "roi_head.", case.seed)
    proposals = var(np.stack([case[f"in.proposals.{i}"] for i in range(2)]))
    sampled = head.sample(proposals, batch_of(case))
    used = sampled.samples.weight.numpy().reshape(-1) > 0
    rois = golden.roi_features(case.seed, case.name[:6], case["in.shape.roi_feat"])
    features = np.zeros((len(used), *rois.shape[1:]), np.float32)
    features[used] = case.generated("roi_feat", rois)
    return Scene(case, head, sampled, used, var(features))


def partitioned(case: golden.Case, folder: Path, counts: bool = False, **changes: object) -> Scene:
    classes = case["in.num_classes_per_dataset"]
    return make_scene(
        case,
        {
            "type": "BBoxHeadCLIPPartitioned",
            "num_classes": int(classes.max()),
            "zeroshot_path": [write_embeddings(folder, case.seed, i, n) for i, n in enumerate(classes)],
            "cat_freq_path": [None, write_image_counts(folder, case["in.image_count.1"]) if counts else None],
            **changes,
        },
    )


def single(case: golden.Case, folder: Path, counts: bool = False, test_cfg: dict = RCNN, **changes: object) -> Scene:
    classes = int(case["in.num_classes"])
    return make_scene(
        case,
        {
            "num_classes": classes,
            "zeroshot_path": write_embeddings(folder, case.seed, 0, classes),
            "cat_freq_path": write_image_counts(folder, case["in.image_count"]) if counts else None,
            **changes,
        },
        test_cfg,
    )


def check_targets(scene: Scene) -> None:
    case, sampled = scene.case, scene.sampled
    positive = sampled.samples.positive.numpy()
    np.testing.assert_array_equal(to_rois(sampled.boxes).numpy()[scene.used], case["in.rois"])
    np.testing.assert_array_equal(sampled.labels.numpy().reshape(-1)[scene.used], case["targets.labels"])
    np.testing.assert_array_equal(positive.sum(1), case["targets.num_pos_per_img"])
    np.testing.assert_array_equal(sampled.samples.weight.numpy().sum(1), case["targets.num_per_img"])
    deltas = scene.bbox_head.coder.encode(sampled.boxes, sampled.truths).numpy() * positive[:, :, None]
    case.agrees("targets.bbox_targets", deltas.reshape(-1, 4)[scene.used], 1e-5)


def check_loss(scene: Scene, tag: str, sampled: SampledRoIs, accuracy: bool) -> None:
    case = scene.case
    terms = scene.bbox_head.loss(scene.bbox_head(scene.features), sampled)
    for key in ("loss_cls", "loss_bbox", *(("acc",) if accuracy else ())):
        expected = float(case[f"{tag}.{key}"])
        golden.record(case.name, f"{tag}.{key}", abs(terms[key].item() - expected) / max(expected, 1e-30), 1e-4)
        assert terms[key].item() == pytest.approx(expected, rel=golden.FORWARD, abs=1e-9), key
    total = terms["loss_cls"] + terms["loss_bbox"]
    case.gradients_agree(tag, gradients(total, scene.bbox_head, "roi_head.bbox_head."))
    case.gradient_agrees(f"{tag}.grad_feat", jt.grad(total, scene.features).numpy()[scene.used])


def without_positives(sampled: SampledRoIs, background: int) -> SampledRoIs:
    """The same RoIs, all of them background."""
    samples = replace(sampled.samples, positive=jt.zeros(sampled.samples.positive.shape))
    return replace(sampled, labels=jt.full(sampled.labels.shape, background, "int32"), samples=samples)


def check_detections(
    scene: Scene, key: str, scores: np.ndarray | None = None, raw: str = "raw", kind: str = "softnms"
) -> None:
    """Assert boxes and scores of each image before NMS, and the detections after it, both in original pixels."""
    case, factors = scene.case, scene.case["in.scale_factor"]
    scores = np.ones(len(case["in.rois"]), np.float32) if scores is None else scores
    outputs = scene.bbox_head(scene.features[: len(scene.used)])
    logits, deltas = (scene.per_image(x.numpy()[scene.used]) for x in (outputs.classes, outputs.deltas))
    shapes = case["in.img_shape"][:, :2]
    for i, (rois, objectness) in enumerate(zip(scene.per_image(case["in.rois"]), scene.per_image(scores), strict=True)):
        proposals = var(np.c_[rois[:, 1:], objectness][None], "float32")
        found = type(outputs)(var(logits[i][None]), var(deltas[i][None]))
        boxes, image_scores = scene.bbox_head.detections(found, proposals, var(shapes[i : i + 1], "float32"))
        boxes = boxes / var(factors[i : i + 1]).unsqueeze(1)
        case.agrees(f"{key}.{raw}.{i}.bboxes", boxes.numpy()[0])
        # Without the background's column, which nobody looks at.
        expected = case[f"{key}.{raw}.{i}.scores"][:, :-1]
        np.testing.assert_allclose(image_scores.numpy()[0], expected, atol=golden.FORWARD * expected.max())
        (detections,) = read([scene.head.suppress(boxes, image_scores)])
        table = np.c_[detections.boxes, detections.scores]
        case.table_agrees(f"{key}.{kind}.{i}.dets", table, f"{key}.{kind}.{i}.labels", detections.labels)
        assert (np.diff(detections.scores) <= 0).all()


@pytest.mark.parametrize("file", golden.files(3), ids=lambda name: f"golden-{name}")
def test_outputs_targets_and_detections_of_the_partitioned_head_match(file: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    scene = partitioned(case, tmp_path)
    check_targets(scene)
    with jt.no_grad():
        case.agrees("out.attnpool", scene.bbox_head.attnpool(scene.features).numpy()[scene.used])
        outputs = scene.bbox_head(scene.features)
        classes, first = outputs.classes.numpy()[scene.used], 0
        for i, size in enumerate(case["in.num_classes_per_dataset"]):
            case.agrees(f"out.cls_score.{i}", np.c_[classes[:, first : first + size], classes[:, -1]])
            first += size
        case.agrees("out.bbox_pred", outputs.deltas.numpy()[scene.used])
        check_detections(scene, "test", raw="raw_rescale")
        scene.head.multiclass_nms = read_multiclass_nms(HARD_NMS, "model.test_cfg.rcnn")
        check_detections(scene, "test", raw="raw_rescale", kind="nms05")


@pytest.mark.parametrize(
    ("tag", "number"),
    [
        ("lossA_appeared_only", 1),
        ("lossB_firstk", 8),
        ("lossC_firstk_freq", 8),
        ("lossD_all", None),
        ("lossE_nopos", 8),
    ],
)
@pytest.mark.parametrize("file", golden.files(3), ids=lambda name: f"golden-{name}")
def test_losses_and_gradients_of_the_partitioned_head_match(
    file: str, tag: str, number: int | None, tmp_path: Path
) -> None:
    case = golden.Case(file)
    number = number or int(case["in.num_classes_per_dataset"][1]) + 1
    scene = partitioned(case, tmp_path, "freq" in tag, fed_loss_num_cat=number)
    sampled = scene.sampled
    if tag == "lossD_all":
        labels = np.full(len(scene.used), scene.bbox_head.num_classes, np.int32)
        labels[scene.used] = case["in.lossD_labels"]
        sampled = replace(sampled, labels=var(labels.reshape(2, -1)), dataset_ids=np.ones(2, np.int32))
    if tag == "lossE_nopos":
        sampled = without_positives(sampled, scene.bbox_head.num_classes)
    # The reference's accuracy is wrong with several vocabularies (it takes the last image's for all).
    check_loss(scene, tag, sampled, accuracy=False)


@pytest.mark.parametrize("file", golden.files(4), ids=lambda name: f"golden-{name}")
def test_outputs_targets_and_detections_of_the_single_head_match(file: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    scene = single(case, tmp_path)
    check_targets(scene)
    with jt.no_grad():
        case.agrees("out.attnpool", scene.bbox_head.attnpool(scene.features).numpy()[scene.used])
        outputs = scene.bbox_head(scene.features)
        case.agrees("out.cls_score", outputs.classes.numpy()[scene.used])
        case.agrees("out.bbox_pred", outputs.deltas.numpy()[scene.used])
        check_detections(scene, "test.single")


@pytest.mark.parametrize(
    ("tag", "number"),
    [
        ("lossA_appeared_only", 1),
        ("lossB_firstk", 10),
        ("lossC_firstk_freq", 10),
        ("lossD_all", None),
        ("lossE_nopos", 10),
        ("lossF_weight2", 10),
    ],
)
@pytest.mark.parametrize("file", golden.files(4), ids=lambda name: f"golden-{name}")
def test_losses_and_gradients_of_the_single_head_match(file: str, tag: str, number: int | None, tmp_path: Path) -> None:
    case = golden.Case(file)
    number = number or int(case["in.num_classes"]) + 1
    weight = 2.0 if tag == "lossF_weight2" else 1.0
    loss_cls = {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": weight}
    scene = single(case, tmp_path, "freq" in tag, fed_loss_num_cat=number, loss_cls=loss_cls)
    sampled = scene.sampled
    if tag == "lossE_nopos":
        sampled = without_positives(sampled, scene.bbox_head.num_classes)
    check_loss(scene, tag, sampled, accuracy=True)


@pytest.mark.parametrize("kind", ["infer", "calib"])
@pytest.mark.parametrize("file", golden.files(4), ids=lambda name: f"golden-{name}")
def test_scores_fused_with_proposals_match_with_and_without_calibration(file: str, kind: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    changes = {"type": "BBoxHeadCLIPInference", "beta": 0.3}
    if kind == "calib":
        np.save(tmp_path / "counts.npy", case["in.raw_results_counts"].sum(0))
        changes |= {"gamma": 0.6, "detection_counts": str(tmp_path / "counts.npy")}
    scene = single(case, tmp_path, test_cfg=MORE, **changes)
    with jt.no_grad():
        check_detections(scene, f"test.{kind}", case["in.roi_scores"])


@pytest.mark.parametrize(("least", "left"), [(0.0, False), (1.0, True)])
@pytest.mark.parametrize("file", golden.files(4), ids=lambda name: f"golden-{name}")
def test_a_class_never_detected_leaves_nothing_in_the_original_and_everything_here(
    file: str, least: float, left: bool, tmp_path: Path
) -> None:
    case = golden.Case(file)
    counts = case["in.raw_results_counts"].sum(0)
    counts[2] = 0
    np.save(tmp_path / "counts.npy", counts)
    scene = single(
        case,
        tmp_path,
        test_cfg=MORE,
        type="BBoxHeadCLIPInference",
        beta=0.3,
        gamma=0.6,
        detection_counts=str(tmp_path / "counts.npy"),
        least_count=least,
    )
    logits = jt.randn(1, 27, len(counts))
    scores = scene.bbox_head.scores(logits, jt.ones((1, 27)))
    (found,) = read([scene.head.suppress(jt.concat([jt.rand(1, 27, 2), jt.rand(1, 27, 2) + 5.0], -1), scores)])
    assert (len(found.scores) > 0) == left
    if not left:
        assert len(found.scores) == int(case["test.calib_zero_count.num_dets"])
