"""Weights of other programs in our models: what fits is loaded, what does not is listed, and vocabularies stay."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from safetensors.numpy import save_file

from shared.errors import UserError
from tests.parity import golden
from tests.parity.clip_models import END_TO_END, STAGE_2, write_embeddings
from tests.parity.models import STAGE_1, changed
from tests.trainer.models.clip_examples import small_clip_model, write_vocabulary
from tests.trainer.models.examples import small_model
from trainer.device import nn
from trainer.models import build_detector
from trainer.weights import checkpoint, pretrained
from trainer.weights.formats import torch_writer

ROOT = Path(__file__).parents[3]
CURSOR = {"epoch": 0, "step": 0}


def values(model: nn.Module) -> dict[str, np.ndarray]:
    return model.state_dict(to="numpy")


def noise(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in values(model).items()}


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    path.write_bytes(torch_writer.dumps(arrays))
    return path


def test_a_pth_file_of_the_same_model_is_loaded_whole(tmp_path: Path) -> None:
    model = build_detector(small_model())
    arrays = noise(shapes_of(model))
    said: list[str] = []
    pretrained.load(write(tmp_path / "a.pth", arrays), model, said.append, complete=True)
    for name, array in values(model).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    assert said == [f"weights {tmp_path / 'a.pth'}: {len(arrays)} tensors fit"]


def test_loading_keeps_frozen_parameters_frozen_and_trainable_ones_trainable(tmp_path: Path) -> None:
    model = build_detector(small_model())
    frozen = {name for name, parameter in model.named_parameters() if parameter.is_stop_grad()}
    pretrained.load(write(tmp_path / "a.pth", noise(shapes_of(model))), model, lambda _: None, complete=True)
    assert {name for name, parameter in model.named_parameters() if parameter.is_stop_grad()} == frozen
    assert "backbone.conv1.weight" in frozen and "neck.fpn_convs.0.conv.weight" not in frozen


def test_a_file_that_fits_in_part_starts_a_training_and_says_what_is_missing(tmp_path: Path) -> None:
    model = build_detector(small_model())
    before, arrays = values(model), noise(shapes_of(model))
    del arrays["neck.fpn_convs.0.conv.bias"]
    arrays["head.extra"] = np.zeros(3, np.float32)
    arrays["rpn_head.rpn_obj.bias"] = np.zeros(7, np.float32)
    said: list[str] = []
    config = Config({"model": small_model(), "load_from": str(write(tmp_path / "a.pth", arrays))})
    pretrained.initialise(model, config, said.append)
    for part in (
        "1 missing: neck.fpn_convs.0.conv.bias [16]",
        "1 unexpected: head.extra [3]",
        "1 of another shape: rpn_head.rpn_obj.bias [7], expected [1]",
    ):
        assert part in said[0]
    after = values(model)
    np.testing.assert_array_equal(after["neck.fpn_convs.0.conv.bias"], before["neck.fpn_convs.0.conv.bias"])
    np.testing.assert_array_equal(after["neck.fpn_convs.1.conv.bias"], arrays["neck.fpn_convs.1.conv.bias"])


def test_a_model_to_be_evaluated_must_be_complete_and_is_left_alone_otherwise(tmp_path: Path) -> None:
    model = build_detector(small_model())
    before, arrays = values(model), noise(shapes_of(model))
    del arrays["neck.fpn_convs.0.conv.bias"]
    with pytest.raises(UserError, match=r"do not fit the model: .*missing: neck\.fpn_convs\.0\.conv\.bias \[16\]"):
        pretrained.load(write(tmp_path / "a.pth", arrays), model, lambda _: None, complete=True)
    for name, array in values(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_file_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    model = build_detector(small_model())
    path = write(tmp_path / "a.pth", {"encoder.weight": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"do not fit the model: 0 tensors fit; .*unexpected: encoder\.weight \[3\]"):
        pretrained.load(path, model, lambda _: None, complete=False)


def test_safetensors_of_others_and_own_checkpoints_are_told_apart(tmp_path: Path) -> None:
    model = build_detector(small_model())
    arrays = noise(shapes_of(model))
    save_file(arrays, tmp_path / "theirs.safetensors")
    said: list[str] = []
    pretrained.load(tmp_path / "theirs.safetensors", model, said.append, complete=True)
    checkpoint.save(tmp_path / "own.safetensors", model, None, CURSOR, {})
    fresh = build_detector(small_model())
    pretrained.load(tmp_path / "own.safetensors", fresh, said.append, complete=True)
    for name, array in values(fresh).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    assert [line.split(": ")[1] for line in said] == [f"{len(arrays)} tensors fit", "a checkpoint of this trainer"]


def test_a_backbones_weights_come_from_its_own_init_cfg(tmp_path: Path) -> None:
    config = small_model()
    model = build_detector(config)
    backbone = {n.removeprefix("backbone."): s for n, s in shapes_of(model).items() if n.startswith("backbone.")}
    arrays = noise(backbone)
    path = write(tmp_path / "resnet.pth", arrays | {"fc.weight": np.zeros((10, 64), np.float32)})
    config["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": str(path)}
    said: list[str] = []
    model = build_detector(config)  # the key alone loads nothing, so that a file is not needed to evaluate
    pretrained.initialise(model, Config({"model": config}), said.append)
    for name, array in arrays.items():
        np.testing.assert_array_equal(values(model)[f"backbone.{name}"], array, err_msg=name)
    assert said[0].endswith(f"{len(arrays)} tensors fit; 1 unexpected: backbone.fc.weight [10, 64]")


def test_an_init_cfg_takes_the_part_under_its_prefix_and_load_from_goes_over_it(tmp_path: Path) -> None:
    config = small_model()
    model = build_detector(config)
    arrays = noise(shapes_of(model))
    both = write(tmp_path / "detector.pth", arrays)
    ones = write(tmp_path / "ones.pth", {"neck.fpn_convs.0.conv.bias": np.ones(16, np.float32)})
    config["neck"]["init_cfg"] = {"type": "Pretrained", "checkpoint": str(both), "prefix": "neck."}
    said: list[str] = []
    model = build_detector(config)
    pretrained.initialise(model, Config({"model": config, "load_from": str(ones)}), said.append)
    after = values(model)
    assert (after["neck.fpn_convs.0.conv.bias"] == 1).all()
    np.testing.assert_array_equal(after["neck.fpn_convs.1.conv.bias"], arrays["neck.fpn_convs.1.conv.bias"])
    assert not np.array_equal(after["backbone.conv1.weight"], arrays["backbone.conv1.weight"])
    assert "unexpected" not in said[0]


def test_an_outer_init_cfg_goes_over_an_inner_one(tmp_path: Path) -> None:
    config = small_model()
    whole = noise(shapes_of(build_detector(config)))
    ones = {"conv1.weight": np.ones_like(whole["backbone.conv1.weight"])}
    for part, arrays in ((config, whole), (config["backbone"], ones)):
        path = write(tmp_path / f"{len(arrays)}.pth", arrays)
        part["init_cfg"] = {"type": "Pretrained", "checkpoint": str(path)}
    model = build_detector({key: value for key, value in config.items() if key != "init_cfg"})
    said: list[str] = []
    pretrained.initialise(model, Config({"model": config}), said.append)
    np.testing.assert_array_equal(values(model)["backbone.conv1.weight"], whole["backbone.conv1.weight"])
    assert [line.split(": ")[1].split(";")[0] for line in said] == ["1 tensors fit", f"{len(whole)} tensors fit"]


@pytest.mark.parametrize(
    "init_cfg, says",
    [
        ({"type": "Xavier"}, r"model\.backbone\.init_cfg: unknown type 'Xavier'"),
        ({"type": "Pretrained", "checkpont": "f"}, r"model\.backbone\.init_cfg: unknown key 'checkpont'"),
        ({"type": "Pretrained", "checkpoint": "torchvision://resnet50"}, r"nothing is downloaded, so"),
        ({"type": "Pretrained"}, r"model\.backbone\.init_cfg\.checkpoint=None: expected the path of a file"),
        ({"type": "Pretrained", "checkpoint": "nowhere.pth"}, r"weights nowhere\.pth: no such file"),
    ],
)
def test_an_init_cfg_that_cannot_be_honoured_is_refused(init_cfg: dict, says: str) -> None:
    config = small_model()
    model = build_detector(config)
    config["backbone"]["init_cfg"] = init_cfg
    with pytest.raises(UserError, match=says):
        pretrained.initialise(model, Config({"model": config}), lambda _: None)


def visual(name: str) -> str:
    """CLIP's name of one of our image tower's tensors."""
    for ours, clips in (
        ("roi_head.shared_head.", "visual."),
        ("roi_head.bbox_head.attnpool.", "visual.attnpool."),
        ("backbone.", "visual."),
    ):
        if name.startswith(ours):
            return clips + name.removeprefix(ours)
    return ""


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of ``clip_files.py`` for the small CLIP model."""
    folder = tmp_path_factory.mktemp("clip")
    shapes = shapes_of(build_detector(small_clip_model(folder)))
    (folder / "shapes.json").write_text(
        json.dumps({visual(name): shape for name, shape in shapes.items() if visual(name)})
    )
    command = [sys.executable, "-W", "ignore", "-m", "tests.trainer.weights.clip_files", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


@pytest.mark.parametrize("file, title", [("clip.pt", "CLIP"), ("regionclip.pth", "RegionCLIP")])
def test_clip_and_regionclip_fill_backbone_shared_head_and_attention_pool(
    clip_files: Path, file: str, title: str
) -> None:
    config = small_clip_model(clip_files)
    model = build_detector(config)
    said: list[str] = []
    pretrained.initialise(model, Config({"model": config, "load_from": str(clip_files / file)}), said.append)
    with np.load(clip_files / "expected.npz") as expected:
        loaded = {name: array for name, array in values(model).items() if visual(name)}
        assert {visual(name) for name in loaded} == set(expected.files)
        for name, array in loaded.items():
            np.testing.assert_array_equal(array, expected[visual(name)], err_msg=name)
    length = values(model)["roi_head.bbox_head.fc_reg.weight"].shape[1]
    assert said == [
        f"weights {clip_files / file} ({title}): {len(loaded)} tensors fit; 2 missing: "
        f"roi_head.bbox_head.fc_reg.bias [4], roi_head.bbox_head.fc_reg.weight [4, {length}]"
    ]


def test_clips_weights_fill_a_backbone_alone_where_its_init_cfg_asks_for_them(clip_files: Path) -> None:
    config = small_clip_model(clip_files)
    config["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": str(clip_files / "clip.pt")}
    model, said = build_detector(config), []
    before = values(model)
    pretrained.initialise(model, Config({"model": config}), said.append)
    after = values(model)
    changed_names = {name for name in after if not np.array_equal(after[name], before[name])}
    assert changed_names == {name for name in after if name.startswith("backbone.")}
    assert "missing" not in said[0] and "unexpected" not in said[0]


def test_a_checkpoints_vocabulary_never_replaces_the_configs_not_even_one_of_the_same_size(tmp_path: Path) -> None:
    trained = build_detector(small_clip_model(tmp_path))
    others = {"roi_head.bbox_head.zeroshot_path": write_vocabulary(tmp_path, 12, seed=1)}
    mine = values(build_detector(small_clip_model(tmp_path, **others)))["roi_head.bbox_head.zs_weights"]
    assert not np.array_equal(values(trained)["roi_head.bbox_head.zs_weights"], mine)
    checkpoint.save(tmp_path / "own.safetensors", trained, None, CURSOR, {})
    write(tmp_path / "theirs.pth", values(trained))
    for file in ("own.safetensors", "theirs.pth"):
        model = build_detector(small_clip_model(tmp_path, **others))
        pretrained.load(tmp_path / file, model, lambda _: None, complete=True)
        np.testing.assert_array_equal(values(model)["roi_head.bbox_head.zs_weights"], mine)
        np.testing.assert_array_equal(
            values(model)["roi_head.bbox_head.fc_reg.weight"], values(trained)["roi_head.bbox_head.fc_reg.weight"]
        )


def test_a_checkpoint_of_one_vocabulary_loads_into_a_model_of_another_size(tmp_path: Path) -> None:
    trained = build_detector(small_clip_model(tmp_path))
    checkpoint.save(tmp_path / "own.safetensors", trained, None, CURSOR, {})
    write(tmp_path / "theirs.pth", values(trained))
    wider = {
        "roi_head.bbox_head.num_classes": 20,
        "roi_head.bbox_head.zeroshot_path": write_vocabulary(tmp_path, 20),
    }
    for file in ("own.safetensors", "theirs.pth"):
        model = build_detector(small_clip_model(tmp_path, **wider))
        pretrained.load(tmp_path / file, model, lambda _: None, complete=True)
        assert values(model)["roi_head.bbox_head.zs_weights"].shape[1] == 21


def full_size(detector: str, folder: Path) -> dict:
    """The config of one of the published detectors, with vocabularies of the sizes of params.json."""
    if detector == "stage1_detector":
        return STAGE_1
    head: dict = {"num_classes": 20, "zeroshot_path": write_embeddings(folder, 0, 0, 20)}
    if detector == "stage2_detector":
        paths = [write_embeddings(folder, 0, i, classes) for i, classes in enumerate((12, 20))]
        head |= {"type": "BBoxHeadCLIPPartitioned", "zeroshot_path": paths}
    model = STAGE_2 if detector == "stage2_detector" else END_TO_END
    return changed(model, **{f"roi_head.bbox_head.{key}": value for key, value in head.items()})


@pytest.mark.parametrize(
    "detector, parameters",
    [("stage1_detector", 41_346_893), ("stage2_detector", 38_320_996), ("end2end_detector", 47_836_079)],
)
def test_full_size_detectors_have_the_published_names_shapes_and_number_of_parameters(
    tmp_path: Path, detector: str, parameters: int
) -> None:
    shapes = shapes_of(build_detector(full_size(detector, tmp_path)))
    learnt = [name for name in shapes if "running_" not in name and "zs_weights" not in name]
    assert sum(int(np.prod(shapes[name])) for name in learnt) == parameters
    if not (golden.DIRECTORY / "params.json").is_file():
        pytest.skip(f"numbers agree; names are not compared: no params.json in {golden.DIRECTORY}")
    published = json.loads((golden.DIRECTORY / "params.json").read_text())[detector]
    assert shapes == {name: tuple(shape) for name, shape, _ in published}


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_as_float32_are_refused_and_change_nothing(tmp_path: Path, wrong: float) -> None:
    model = build_detector(small_model())
    before = values(model)
    arrays = {name: array.astype(np.float64) for name, array in noise(shapes_of(model)).items()}
    arrays["neck.fpn_convs.0.conv.bias"][3] = wrong
    with pytest.raises(
        UserError, match=r"a\.pth: tensor 'neck\.fpn_convs\.0\.conv\.bias' has 1 numbers of 16 that are"
    ):
        pretrained.load(write(tmp_path / "a.pth", arrays), model, lambda _: None, complete=True)
    for name, array in values(model).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "my.detector."])
def test_a_prefix_of_all_names_is_taken_away(tmp_path: Path, prefix: str) -> None:
    model = build_detector(small_model())
    arrays = noise(shapes_of(model))
    wrapped = write(tmp_path / "a.pth", {prefix + name: array for name, array in arrays.items()})
    said: list[str] = []
    pretrained.load(wrapped, model, said.append, complete=True)
    for name, array in values(model).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    assert f"{len(arrays)} tensors fit" in said[0]
    assert ("names without 'my.detector.'" in said[0]) == (prefix == "my.detector.")


def test_of_two_models_in_a_file_none_is_chosen_but_by_its_prefix(tmp_path: Path) -> None:
    model = build_detector(small_model())
    arrays = noise(shapes_of(model))
    both = {f"{who}.{name}": array for who in ("student", "teacher") for name, array in arrays.items()}
    path = write(tmp_path / "a.pth", both)
    with pytest.raises(UserError, match=r"several models, under 'student\.', 'teacher\.'; .*prefix='student'\)"):
        pretrained.load(path, model, lambda _: None, complete=True)
    init = {"type": "Pretrained", "checkpoint": str(path), "prefix": "teacher"}
    said: list[str] = []
    pretrained.initialise(model, Config({"model": small_model() | {"init_cfg": init}}), said.append)
    assert f"{len(arrays)} tensors fit" in said[0]


@pytest.mark.parametrize("prefix", ["backbone", "model.backbone"])
def test_a_part_is_found_under_its_prefix_with_and_without_the_wrapper(tmp_path: Path, prefix: str) -> None:
    model = build_detector(small_model())
    backbone = {name: shape for name, shape in shapes_of(model).items() if name.startswith("backbone.")}
    path = write(tmp_path / "a.pth", {f"model.{name}": array for name, array in noise(backbone).items()})
    section = small_model()
    section["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": str(path), "prefix": prefix}
    said: list[str] = []
    pretrained.initialise(model, Config({"model": section}), said.append)
    assert f"{len(backbone)} tensors fit" in said[0] and "missing" not in said[0]
