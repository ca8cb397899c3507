"""Each data set of a ``ConcatDataset`` is judged by its own annotations, as if it were alone."""

import copy
import shutil

import pytest

from data_server.workers.metrics.mmdetection import check
from shared.errors import UserError
from tests.data_server.judging import built, judge, mmdetections
from tests.photos import annotations_of, config_of, write_annotations
from tests.shared.test_archives import pack

COCO = {"type": "CocoMetric", "metric": "bbox"}
VOC = {"type": "VOCMetric", "metric": "mAP", "eval_mode": "area"}
SEVERAL = {"type": "MultiDatasetsEvaluator"}


@pytest.fixture(scope="module", params=["the same ids", "other ids", "text"])
def several(request, photos, tmp_path_factory):
    """Three parts of the photographs, whose files are a.json, b.json and b.json, alone and together."""
    parts = []
    for number, (name, kept) in enumerate((("a", range(0, 4)), ("b", range(4, 9)), ("b", range(7, 12)))):
        folder = tmp_path_factory.mktemp("several") / "set"
        shutil.copytree(photos, folder)
        content = copy.deepcopy(annotations_of(photos))
        content["images"] = [image for image in content["images"] if image["id"] - 100 in kept]
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] - 100 in kept]
        shift = {"the same ids": 100 + kept[0], "other ids": 1000 * number, "text": 0}[request.param]
        for of, key in (("images", "id"), ("annotations", "image_id")):
            for one in content[of]:
                one[key] = f"x{one[key] - kept[0]}" if request.param == "text" else one[key] - shift + 1000
        write_annotations(folder, content)
        (folder / "all.json").rename(folder / f"{name}.json")
        parts.append(config_of(folder, "val", ann_file=f"{name}.json"))
    together = copy.deepcopy(parts[0])
    together["dataset"] = {"type": "ConcatDataset", "datasets": [part["dataset"] for part in parts]}
    return [built(part) for part in parts], built(together)


def files(datasets):
    return [part.annotation_file for part in datasets.parts]


@pytest.mark.parametrize("perfect", [True, False])
@pytest.mark.parametrize("metric", [COCO, VOC], ids=lambda metric: metric["type"])
def test_a_metric_judges_each_data_set_as_if_it_were_alone(several, metric, perfect):
    alone, together = several
    expected = {
        f"{name}/{key}": value
        for name, datasets in zip(("a", "b_1", "b_2"), alone, strict=True)
        for key, value in judge(datasets, [metric], perfect).items()
    }
    assert judge(together, [metric], perfect) == pytest.approx(expected, nan_ok=True)
    if perfect:
        assert {value for key, value in expected.items() if key.endswith("mAP")} == {1.0}
    else:
        assert len({value for key, value in expected.items() if key.endswith("mAP")}) == 3


def test_metrics_that_name_annotation_files_judge_the_data_sets_of_these(several):
    alone, together = several
    metrics = [{**COCO, "ann_file": file, "prefix": f"m{number}"} for number, file in enumerate(files(together))]
    expected = {
        f"{name}/m{number}/{key.removeprefix('coco/')}": value
        for number, name in enumerate(("a", "b_1", "b_2"))
        for key, value in judge(alone[number], [COCO], False).items()
    }
    assert judge(together, metrics, False) == pytest.approx(expected, nan_ok=True)
    assert judge(together, metrics[1:2], False).keys() == {key for key in expected if key.startswith("b_1")}


def test_a_metric_and_its_data_set_may_name_a_file_in_an_archive(photos, tmp_path):
    pack(tmp_path / "a.zip", {"inner/all.json": (photos / "all.json").read_bytes()})
    named = f"{tmp_path}/a.zip/inner/all.json"
    expected = judge(built(config_of(photos, "val")), [COCO], False)
    packed = built(config_of(photos, "val", ann_file=named))
    for metric in (COCO, {**COCO, "ann_file": named}, {**COCO, "ann_file": str(photos / "all.json")}):
        check(metric)
        assert judge(packed, [metric], False) == pytest.approx(expected, nan_ok=True)
    with pytest.raises(UserError, match=r"ann_file='.*/inner/none\.json': there is no such file"):
        check({**COCO, "ann_file": named.replace("all", "none")})


def test_an_annotation_file_of_none_of_them_is_refused(several):
    with pytest.raises(UserError, match=r"ann_file='c\.json' is of none of the data sets, .*a\.json.*leave ann_file"):
        judge(several[1], [{**COCO, "ann_file": "c.json"}], False)


@pytest.mark.parametrize("scope", ["", "mmdet."])
def test_mmdetections_evaluator_of_several_data_sets_works_as_there(several, scope):
    """MMDetection's: 'dataset_prefix/metric_prefix/key'."""
    alone, together = several
    metrics = [{**COCO, "ann_file": files(together)[0]}, {**VOC}, {**COCO, "prefix": "own"}]
    values = judge(
        together,
        [{"type": f"{scope}MultiDatasetsEvaluator", "metrics": metrics, "dataset_prefixes": ["x", "y", "z"]}],
        False,
    )
    theirs = []
    for number, metric in enumerate(metrics):
        (part,) = alone[number].parts
        named = {} if metric["type"] == "VOCMetric" else {"ann_file": part.annotation_file}
        theirs.append(mmdetections(part, metric | named, False))
    expected = {f"{name}/{key}": value for name, one in zip("xyz", theirs, strict=True) for key, value in one.items()}
    assert {"x/coco/bbox_mAP", "y/pascal_voc/mAP", "z/own/bbox_mAP"} <= values.keys()
    assert values == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": [COCO, COCO]}, "2 metrics and 3 dataset_prefixes for 3 data sets"),
        ({"metrics": COCO}, "1 metrics and 3 dataset_prefixes for 3 data sets"),
        ({"dataset_prefixes": ["x"]}, "3 metrics and 1 dataset_prefixes for 3 data sets"),
        ({"dataset_prefixes": ["x", "y", "x"]}, "two are alike"),
        ({"metrics": [COCO, "CocoMetric", COCO]}, "'CocoMetric'; expected a dict with 'type'"),
        ({"prefixes": []}, "unknown key 'prefixes'"),
    ],
)
def test_an_evaluator_of_several_that_does_not_fit_is_refused(several, change, says):
    full = {**SEVERAL, "metrics": [COCO] * 3, "dataset_prefixes": ["x", "y", "z"]}
    with pytest.raises(UserError, match=says):
        judge(several[1], [full | change], False)


def test_two_metrics_of_one_name_are_refused(several):
    alone, _ = several
    with pytest.raises(UserError, match="there is a 'coco/bbox_mAP' already; give it another prefix"):
        judge(alone[0], [COCO, COCO], False)
