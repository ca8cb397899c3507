"""Bad data, bad configs: one clear line that names file, key and remedy, at the client."""

import re
import shutil

import pytest

from shared.errors import UserError
from tests.cluster import digests
from tests.photos import TRAIN_PIPELINE, annotations_of, config_of, write_annotations

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE


@pytest.fixture
def folder(photos, tmp_path):
    """A copy of the data set, to be spoiled."""
    shutil.copytree(photos, tmp_path / "set")
    return tmp_path / "set"


def refusal(cluster, config, batches=12) -> str:
    """What the client is sent; the stream may have begun."""
    with pytest.raises(UserError) as caught:
        digests(cluster.open(config), batches)
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("name", ["non.json", "x" * 300])
def test_a_missing_annotation_file_is_named_with_the_keys_that_led_there(cluster, folder, name):
    text = refusal(cluster, config_of(folder, ann_file=name))
    assert text == (
        f"annotation file '{folder}/{name}': no such file; check data_root='{folder}' and ann_file='{name}'"
    )


def test_malformed_json_is_named_with_its_line(cluster, folder):
    lines = (folder / "all.json").read_text().splitlines()
    lines[6] = lines[6].replace('"', "", 1)
    (folder / "all.json").write_text("\n".join(lines))
    text = refusal(cluster, config_of(folder))
    assert re.match(rf"annotation file '{folder}/all.json' line 7 column \d+: not valid JSON: ", text)


@pytest.mark.parametrize(
    ("section", "number", "key", "value"),
    [
        ("annotations", 3, "bbox", None),
        ("annotations", 0, "image_id", None),
        ("annotations", 2, "category_id", None),
        ("annotations", 1, "area", None),
        ("images", 4, "file_name", None),
        ("images", 0, "height", "60"),
        ("categories", 1, "name", None),
    ],
)
def test_an_annotation_with_a_missing_or_wrong_key_is_named(cluster, folder, section, number, key, value):
    content = annotations_of(folder)
    if value is None:
        del content[section][number][key]
    else:
        content[section][number][key] = value
    write_annotations(folder, content)
    text = refusal(cluster, config_of(folder))
    assert f"annotation file '{folder}/all.json': {section}[{number}] lacks a valid '{key}': {{" in text


@pytest.mark.parametrize("box", [[1, 2, 3], ["1", "2", "3", "4"]])
def test_a_box_that_is_none_is_named(cluster, folder, box):
    content = annotations_of(folder)
    content["annotations"][5]["bbox"] = box
    write_annotations(folder, content)
    assert f"annotations[5] has bbox {box}; expected [x, y, w, h]" in refusal(cluster, config_of(folder))


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("images", "width", float("nan"), r"width 'nan' and height '60'; expected numbers of pixels"),
        ("images", "height", -5, r"width '90' and height '-5'; expected numbers of pixels"),
        ("images", "width", 2**31, r"width '2147483648' and height '60'; expected numbers of pixels"),
        (
            "annotations",
            "bbox",
            [1, 2, 1e12, 20],
            r"a box \[.*1000000000001\.0.*\]; expected four finite numbers of pixels",
        ),
        ("annotations", "bbox", [1, 2, 3, float("inf")], r"a box \[.*inf\]; expected four finite numbers of pixels"),
    ],
)
def test_sizes_and_boxes_that_are_no_pixels_are_named_with_their_image(cluster, folder, section, key, value, says):
    content = annotations_of(folder)
    content[section][0][key] = value
    write_annotations(folder, content)
    text = refusal(cluster, config_of(folder, "val"))
    where = (
        rf"data set 'CocoDataset' of annotation file '{folder}/all\.json': image 0 \('{folder}/images/00\.jpg'\) has "
    )
    assert re.fullmatch(where + says, text), text


def test_what_nobody_expected_of_a_data_set_is_one_line_that_names_its_files(cluster, folder):
    config = config_of(folder, type="Forgetful", custom_imports={"imports": ["tests.data_server.transforms"]})
    assert refusal(cluster, config) == (
        "the data sets of annotation files 'all.json' cannot be used: KeyError: 'image 0'"
    )
    assert digests(cluster.open(config_of(folder)), 1), "the server goes on"


@pytest.mark.parametrize("text", ["[]", "{}", '{"images": 3}'])
def test_json_that_is_no_coco_file_is_named(cluster, folder, text):
    (folder / "all.json").write_text(text)
    says = f"annotation file '{folder}/all.json': no list 'images'; expected COCO's format"
    assert says in refusal(cluster, config_of(folder))


def test_an_annotation_file_that_is_no_text_is_named(cluster, folder):
    (folder / "all.json").write_bytes(b"\x89PNG\xff\xfe")
    assert "all.json': not a text file; expected COCO JSON" in refusal(cluster, config_of(folder))


def test_an_unknown_class_is_named_with_the_nearest_known_one(cluster, folder):
    for classes in (("cup", "lampe", "shoe"), ("lampe",)):
        text = refusal(cluster, config_of(folder, metainfo={"classes": classes}))
        assert f"annotation file '{folder}/all.json' has no category 'lampe' (did you mean 'lamp'?)" in text


@pytest.mark.parametrize(
    ("wrapper", "says"),
    [
        ({"type": "RepeatDataset"}, "data set 'RepeatDataset': times is None; expected 1 or more"),
        ({"type": "RepeatDataset", "times": 0}, "data set 'RepeatDataset': times is 0; expected 1 or more"),
        ({"type": "RepeatDataset", "time": 2}, "data set 'RepeatDataset': unknown key 'time' (did you mean 'times'?)"),
        (
            {"type": "ClassBalancedDataset", "oversample_thr": -1.0},
            "data set 'ClassBalancedDataset': oversample_thr is -1.0; expected a number above 0",
        ),
        ({"type": "MultiImageMixDataset"}, "data set 'MultiImageMixDataset': pipeline is None; expected a list of"),
        (
            {"type": "MultiImageMixDataset", "pipeline": [], "max_fetch": 3},
            "data set 'MultiImageMixDataset': unknown key 'max_fetch' (did you mean 'max_refetch'?)",
        ),
        (
            {"type": "MultiImageMixDataset", "pipeline": [{"type": "Mosaik"}]},
            "data set 'MultiImageMixDataset': MMDetection cannot build it: ",
        ),
        ({"type": "ConcatDataset"}, "data set 'ConcatDataset': datasets is None; expected a list of data sets"),
        ({"type": "ConcatDataset", "datasets": []}, "data set 'ConcatDataset': datasets is []; expected a list of"),
    ],
)
def test_a_wrapper_that_is_not_understood_is_named_with_its_key(cluster, photos, wrapper, says):
    config = config_of(photos)
    within = {} if wrapper["type"] == "ConcatDataset" else {"dataset": config["dataset"]}
    config["dataset"] = {**wrapper, **within}
    assert refusal(cluster, config).startswith(says)


@pytest.mark.parametrize("change", [{"annotations": []}, {"images": []}])
def test_nothing_left_after_filtering_is_said(cluster, folder, change):
    write_annotations(folder, annotations_of(folder) | change)
    text = refusal(cluster, config_of(folder))
    assert f"annotation file '{folder}/all.json'" in text and "left after filtering" in text


def test_a_training_set_without_a_box_is_said_even_when_nothing_is_filtered(cluster, folder):
    write_annotations(folder, annotations_of(folder) | {"annotations": []})
    text = refusal(cluster, config_of(folder, filter_cfg=None))
    assert "no annotated box is left" in text


def test_a_pipeline_without_packing_is_told_what_its_last_step_must_be(cluster, folder):
    text = refusal(cluster, config_of(folder, pipeline=TRAIN_PIPELINE[:-1]))
    assert text == "data set CocoDataset: its pipeline ends in RandomFlip; expected PackDetInputs as the last transform"


def test_masks_are_there_for_the_pipeline_and_left_out_of_the_batch_with_a_line(cluster, folder):
    content = annotations_of(folder)
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    write_annotations(folder, content)
    plain = digests(cluster.open(config_of(folder)), 6)
    assert not cluster.notices
    masks = {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True}
    flip = {"type": "RandomFlip", "prob": 0.5}
    needs = {"type": "NeedsMasks"}
    config = config_of(
        folder,
        pipeline=(LOAD, masks, RESIZE, flip, needs, PACK),
        custom_imports={"imports": ["tests.data_server.transforms"]},
    )
    assert digests(cluster.open(config), 6) == plain
    assert cluster.notices == [
        f"data set 'CocoDataset' of annotation file '{folder}/all.json': its pipeline loads masks, which are not "
        "carried to the trainer; with_mask=False saves the time, unless a transform needs them"
    ]


def test_meta_keys_that_are_not_carried_are_named_in_a_line(cluster, folder):
    pack = {"type": "PackDetInputs", "meta_keys": ("img_id", "text", "instances", "border")}
    client = cluster.open(config_of(folder, pipeline=(LOAD, BOXES, RESIZE, pack)))
    assert len(digests(client, 2)) == 2
    (line,) = cluster.notices
    assert line.endswith("PackDetInputs.meta_keys names 'text', 'border', not carried: nothing here reads it")


def test_images_that_are_no_bytes_any_more_are_refused(cluster, folder):
    normalize = {"type": "Normalize", "mean": [0, 0, 0], "std": [1, 1, 1]}
    text = refusal(cluster, config_of(folder, pipeline=(LOAD, BOXES, RESIZE, normalize, PACK)))
    assert text.startswith("the pipeline has a Normalize") and "model.data_preprocessor" in text


def test_an_unknown_data_set_or_transform_is_named(cluster, folder):
    assert "CocoDateset" in refusal(cluster, config_of(folder, type="CocoDateset"))
    assert "RandomFlop" in refusal(cluster, config_of(folder, pipeline=(LOAD, BOXES, {"type": "RandomFlop"}, PACK)))


def test_custom_imports_that_fail_are_named(cluster, folder):
    text = refusal(cluster, config_of(folder, custom_imports={"imports": ["a_module_of_nobody"]}))
    assert text.startswith("config key 'custom_imports': ") and "No module named 'a_module_of_nobody'" in text


def test_custom_imports_of_what_needs_jittor_are_refused_with_the_way_to_name_it(cluster, folder):
    text = refusal(cluster, config_of(folder, custom_imports={"imports": ["trainer.models.layers"]}))
    assert "'custom_imports': ImportError: Failed to import trainer.models.layers: it imports Jittor, and" in text
    assert text.endswith("let the model name the class as 'module.Class'")


def missing(path):
    path.unlink()


def truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def text(path):
    path.write_text("This is not a picture.")


def empty(path):
    path.write_bytes(b"")


def test_an_image_with_a_name_too_long_for_a_file_is_not_there(cluster, folder):
    content = annotations_of(folder)
    content["images"][3]["file_name"] = "x" * 300
    write_annotations(folder, content)
    assert refusal(cluster, config_of(folder)).startswith(f"image '{folder}/images/{'x' * 300}': no such file")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "no such file"),
        (truncated, "truncated or damaged: "),
        (text, "not an image"),
        (empty, "not an image"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_unusable_image_stops_the_stream_or_is_replaced_and_announced(cluster, folder, spoil, said):
    path = folder / "images" / "03.jpg"
    spoil(path)
    reason = f"image '{path}': {said}"
    stopped = refusal(cluster, config_of(folder))
    assert stopped.startswith(reason) and stopped.endswith("(feed.on_bad_sample='replace' would skip it)")
    config = config_of(folder, feed={"on_bad_sample": "replace"})
    runs = []
    for _ in range(2):
        client = cluster.open(config)
        runs.append(digests(client, 12))
        client.close()
    assert runs[0] == runs[1]
    replaced = [notice for notice in cluster.notices if notice.startswith(reason)]
    assert replaced and all(notice.endswith("; replaced by the next sample") for notice in replaced)


def test_a_truncated_jpeg_is_noticed_even_when_its_loader_does_not(cluster, folder):
    path = folder / "images" / "03.jpg"
    truncated(path)
    pipeline = ({"type": "LenientLoad"}, BOXES, RESIZE, PACK)
    config = config_of(folder, pipeline=pipeline, custom_imports={"imports": ["tests.data_server.transforms"]})
    assert refusal(cluster, config).startswith(f"image '{path}': truncated or damaged: ")


def test_a_jpeg_with_bytes_after_its_end_is_fine(cluster, folder):
    path = folder / "images" / "03.jpg"
    path.write_bytes(path.read_bytes() + b"maker's notes")
    assert len(digests(cluster.open(config_of(folder)), 6)) == 6


def test_a_data_set_without_one_usable_image_ends_the_stream(cluster, folder):
    for path in (folder / "images").iterdir():
        empty(path)
    text = refusal(cluster, config_of(folder, feed={"on_bad_sample": "replace"}))
    assert "images in a row cannot be used; the last: image '" in text


def test_a_trainer_that_waits_is_told_how_far_an_index_is(cluster, folder):
    write_annotations(folder, annotations_of(folder) | {"info": {"description": str(folder)}})  # nobody has its index
    client = cluster.open(config_of(folder, custom_imports={"imports": ["tests.data_server.wordy_index"]}))
    client.close()
    assert re.fullmatch(
        rf"annotation file '{folder}/all\.json': making its index, \d+% done, \d+ s left", cluster.notices[0]
    )
