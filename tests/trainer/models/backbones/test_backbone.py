"""A user's backbone, the one of the documents: what is said of one that does not fit, and where its parts are seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import UserError
from tests.trainer.models.clip_examples import WIDTH, small_clip_model
from tests.trainer.models.examples import documented, small_model
from trainer.models import build_detector
from trainer.models.summary import counts, rows

OTHERS = """
from my_backbone import TinyNet
from trainer.device import jt, nn
from trainer.models.layers import Convolution

class Broken(TinyNet):
    def __init__(self): 1 / 0

class Failing(TinyNet):
    def execute(self, images): return 1 / 0

class OneMap(TinyNet):
    def execute(self, images): return self.stem(images)

class Flat(TinyNet):
    def execute(self, images): return [one.mean(1) for one in super().execute(images)]

class Coarse(TinyNet):
    def execute(self, images): return [one[:, :, ::2, ::2] for one in super().execute(images)]

class RoundsDown(TinyNet):
    def execute(self, images):
        _, _, height, width = images.shape
        maps = zip(super().execute(images), (4, 8, 16, 32))
        return [one[:, :, : height // stride, : width // stride] for one, stride in maps]

class InAList(TinyNet):
    def __init__(self, width, seen=False):
        super().__init__(width)
        self.more = {"all": [self.stem, self.stem.conv.weight if seen else Convolution(3, 8, 1)]}

class Underscore(TinyNet):
    def __init__(self, width):
        super().__init__(width)
        self.stem._scale = jt.ones(1)

class Statistics(TinyNet):
    def __init__(self, width):
        super().__init__(width)
        self.body[0][1].norm = nn.BatchNorm(width)

class C4(TinyNet):
    def execute(self, images): return super().execute(images)[2:3]

class NoBackbone(nn.Module): pass
"""
TINY = {"type": "my_backbone.TinyNet", "width": 8}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_backbone.py").write_text(documented("my_backbone.py"))
    (tmp_path / "other_backbones.py").write_text(OTHERS)
    (tmp_path / "torch_backbone.py").write_text("# of another world\nimport torch\nclass Net(torch.nn.Module): pass\n")
    monkeypatch.syspath_prepend(tmp_path)


def other(name: str, **keys: object) -> dict:
    return {"type": f"other_backbones.{name}", "width": 8, **keys}


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        ({"type": "nowhere.Net"}, r"'nowhere\.Net', which cannot be imported: .*No module named 'nowhere'"),
        ({"type": "my_backbone.Net"}, "'my_backbone.Net', which cannot be imported: .*no attribute 'Net'"),
        ({"type": "torch_backbone.Net"}, "cannot be imported: .*/torch_backbone.py line 2: .*torch.* imports no torch"),
        ({"type": "other_backbones.NoBackbone"}, r"derived from trainer\.models\.backbones\.backbone\.Backbone"),
        ({"type": "TinyNet"}, "unknown type 'TinyNet'; known: .*ResNet.*; write one of your own as 'module.Class'"),
        (
            {"type": "other_backbones.Broken"},
            "other_backbones.Broken cannot be made: .*/other_backbones.py line 7: ZeroDivisionError",
        ),
        (TINY | {"widht": 8}, r"\(my_backbone\.TinyNet\): unknown key 'widht' \(did you mean 'width'\?\)"),
        (
            TINY | {"width": 16},
            "TinyNet gives maps of 16, 32, 64, 128 channels; model.neck.in_channels says 8, 16, 32, 64",
        ),
        (
            TINY | {"frozen_stages": 5},
            "frozen_stages: -1 to 4 is expected, found 5; my_backbone.TinyNet.stages gives 5",
        ),
        (other("Failing"), r"makes no maps of an image \(1,3,256,320\): .*/other_backbones.py line 10: ZeroDivision"),
        (other("OneMap"), r"gives a .*Var for an image \(1,3,256,320\); expected a list of maps float32 \(1,C,h,w\)"),
        (other("Flat"), r"gives float32 \(1,64,80\) and float32 \(1,32,40\) and .*; expected a list of maps"),
        (
            other("Coarse"),
            r"makes of 256x320 pixels a map 0 of 32x40; model\.roi_head\..*featmap_strides\[0\] says stride 4",
        ),
        (other("InAList"), "InAList: more has arrays that Jittor does not find: they would be neither trained nor"),
        (other("Underscore"), r"Underscore: stem\._scale has arrays that Jittor does not find"),
        (other("Statistics"), r"Statistics: body\.0\.1\.norm is a BatchNorm, whose running .*FixedBatchNorm"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(backbone: dict, says: str) -> None:
    with pytest.raises(UserError, match=rf"model\.backbone.*{says}") as caught:
        build_detector(small_model(backbone=backbone))
    assert "\n" not in str(caught.value)


def test_maps_that_are_rounded_down_fit_no_neck_where_images_are_not_padded_to_fit() -> None:
    build_detector(small_model(backbone=other("RoundsDown")))
    says = "makes of 255x319 pixels a map of 63x79 and behind it one of 31x39; expected half the size, rounded up"
    with pytest.raises(UserError, match=says):
        build_detector(small_model(backbone=other("RoundsDown"), **{"data_preprocessor.pad_size_divisor": 1}))
    drawn = {"type": "BatchSyncRandomResize", "random_size_range": (64, 128), "size_divisor": 1}
    with pytest.raises(UserError, match=says):
        build_detector(small_model(backbone=other("RoundsDown"), **{"data_preprocessor.batch_augments": [drawn]}))
    build_detector(small_model(backbone=TINY, **{"data_preprocessor.pad_size_divisor": 1}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"neck.in_channels": [8, 16, 32, 63]},
            r"^model\.backbone: ResNet gives maps of 8, 16, 32, 64 channels; model\.neck.* says 8, 16, 32, 63",
        ),
        (
            {"backbone.out_indices": (1, 2, 3)},
            r"maps of 16, 32, 64 channels; model\.neck\.in_channels says 8, 16, 32, 64",
        ),
        (
            {"rpn_head.anchor_generator.strides": [8, 16, 32, 64, 128]},
            r"a map 0 of 64x80; model\.rpn_head\.anchor_generator\.strides\[0\] says stride 8",
        ),
    ],
)
def test_a_backbone_of_ours_has_to_fit_as_well(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        build_detector(small_model(**changes))


def test_a_list_of_what_jittor_finds_elsewhere_is_no_mistake() -> None:
    build_detector(small_model(backbone=other("InAList", seen=True)))


def test_without_a_neck_one_map_goes_to_the_heads(tmp_path: Path) -> None:
    fits = other("C4", width=4 * WIDTH)
    build_detector(small_clip_model(tmp_path, "FasterRCNN", backbone=fits))
    changes = {"roi_head.bbox_roi_extractor.featmap_strides": [8]}
    with pytest.raises(UserError, match=r"a map 0 of 16x20; model\.roi_head\..*strides\[0\] says stride 8"):
        build_detector(small_clip_model(tmp_path, backbone=fits, **changes))
    for backbone, found in ((other("C4"), "32"), (TINY, "8, 16, 32, 64")):
        says = rf"gives maps of {found} channels; model\.roi_head\.bbox_roi_extractor\.out_channels says 128"
        with pytest.raises(UserError, match=says):
            build_detector(small_clip_model(tmp_path, backbone=backbone))


def test_its_parts_are_described_and_frozen_as_the_config_says() -> None:
    model = build_detector(small_model(backbone=TINY | {"frozen_stages": 1}))
    table = {line[0]: (line[2], line[4]) for line in rows(model, 96, 128)}
    assert table["backbone"][0] == "1x8x24x32 ... 1x64x3x4" and table["backbone"][1].endswith("trainable, rest frozen")
    assert table["backbone.stem"] == ("1x8x48x64", "frozen")
    assert table["backbone.body.0"] == ("1x8x24x32", "frozen")
    assert table["backbone.body.1"] == ("1x16x12x16", "trainable")
    frozen = counts(model.backbone.stem)[1] + counts(model.backbone.body[0])[1]
    assert counts(model)[1] == frozen > 0
