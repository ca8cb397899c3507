"""What becomes of every key of MMDetection's configs: the table, and that nothing is missing from it."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from shared import config_keys, config_table, hook_keys, samplers
from shared.config import check, load_config
from shared.errors import UserError

ROOT = Path(config_keys.__file__).parents[1]
ZOO = Path(str(importlib.util.find_spec("mmdet").origin)).parent / ".mim" / "configs"  # type: ignore[union-attr]


def load(tmp_path, text, options=None):
    path = tmp_path / "config.py"
    path.write_text(text)
    return load_config(str(path), options)


def test_the_table_of_the_documents_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "configs.md").read_text()
    assert config_table.markdown() in text


SIGNATURES = """
import inspect, json, sys, warnings
warnings.filterwarnings("ignore")
import mmengine.hooks, mmengine.runner as runner, torch, torch.utils.data as data
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper, AmpOptimWrapper
from mmengine.registry import HOOKS
names = lambda kind: [name for name in inspect.signature(kind).parameters if name != "kwargs"]
json.dump({
    "top": names(runner.Runner), "val": names(runner.ValLoop),
    "train": names(runner.EpochBasedTrainLoop) + names(runner.IterBasedTrainLoop),
    "loader": names(data.DataLoader), "sampler": names(DefaultSampler),
    "wrapper": names(OptimWrapper) + names(AmpOptimWrapper), "checkpoint": names(mmengine.hooks.CheckpointHook),
    "logger": names(mmengine.hooks.LoggerHook), "randomness": names(runner.Runner.set_randomness)[1:],
    "hooks": list(HOOKS.module_dict),
    "sgd": names(torch.optim.SGD), "adam": names(torch.optim.Adam), "adamw": names(torch.optim.AdamW),
}, sys.stdout)
"""


@pytest.mark.slow
def test_every_key_that_mmdetection_and_mmengine_know_is_decided_on() -> None:
    """Asked of MMEngine and torch in another process, because this one has no torch; read in MMDetection's files."""
    output = subprocess.run([sys.executable, "-c", SIGNATURES], capture_output=True, text=True, check=True).stdout
    theirs = json.loads(output[output.index('{"top"') :])
    given = {"runner", "dataloader", "evaluator", "cfg", "self", "dataset", "params", "batch_size", "sampler"}
    ours = {
        "top": config_keys.TOP_LEVEL,
        "train": config_keys.TRAIN_CFG,
        "val": config_keys.VAL_CFG,
        "loader": config_keys.DATALOADER,
        "sampler": (*samplers.SAMPLER, *samplers.SAMPLERS["DefaultSampler"]),
        "wrapper": config_keys.OPTIM_WRAPPER,
        "checkpoint": hook_keys.CHECKPOINT,
        "logger": hook_keys.LOGGER,
        "randomness": config_keys.RANDOMNESS,
    }
    for name, keys in ours.items():
        assert set(theirs[name]) - given - {key.name for key in keys} == set(), name
    algorithms = {"lr", "betas", "eps", "weight_decay", "momentum", "dampening", "nesterov", "amsgrad"}
    extra = {key.name for key in config_keys.OPTIMIZER}
    assert set(theirs["sgd"] + theirs["adam"] + theirs["adamw"]) - given - algorithms - extra == set()
    files = (ZOO.parents[1] / "engine" / "hooks").glob("*.py")
    detection = [name for path in files for name in re.findall(r"^class (\w+)\(", path.read_text(), re.MULTILINE)]
    assert "MeanTeacherHook" in detection and "EMAHook" in theirs["hooks"]
    assert set(theirs["hooks"] + detection) - {"Hook"} - {key.name for key in hook_keys.HOOKS} == set()


@pytest.mark.parametrize(
    "name",
    [
        "_base_/default_runtime.py",
        "_base_/schedules/schedule_1x.py",
        "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        "retinanet/retinanet_r50_fpn_1x_coco.py",
        "lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py",
        "faster_rcnn/faster-rcnn_r50-caffe_fpn_90k_coco.py",
        "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
        "common/ssj_270k_coco-instance.py",
        "openimages/faster-rcnn_r50_fpn_32xb2-cas-1x_openimages.py",
        "v3det/dino-4scale_r50_8xb2_sample1e-3_v3det_36e.py",
        "cascade_rcnn/cascade-rcnn_r50_fpn_20e_coco.py",
        "yolox/yolox_s_8xb8-300e_coco.py",
        "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    ],
)
def test_configs_of_mmdetections_zoo_with_nothing_to_refuse_are_accepted(name) -> None:
    load_config(str(ZOO / name))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py", "TeacherStudentValLoop"),
        ("qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py", "TrackImgSampler"),
        ("guided_anchoring/ga-fast-rcnn_r50-caffe_fpn_1x_coco.py", "optimizer_config"),
    ],
)
def test_configs_of_mmdetections_zoo_that_train_otherwise_are_refused_by_the_key(name, key) -> None:
    with pytest.raises(UserError, match=key):
        load_config(str(ZOO / name))


REFUSED = [
    "custom_hooks = [dict(type='EMAHook', momentm=0.001)]",
    "custom_hooks = [dict(type='EMAHook', ema_type='ExpEMA')]",
    "custom_hooks = [dict(type='EMAHook', interval=0)]",
    "custom_hooks = [dict(type='EMAHook', device='cpu')]",
    "custom_hooks = [dict(type='EMAHook'), dict(type='mmengine.EMAHook')]",
    "custom_hooks = [dict(type='mmdet.YOLOXModeSwitchHook')]",
    "custom_hooks = [dict(type='NumClassCheckHook'), dict(type='PipelineSwitchHook', switch_epoch=3)]",
    "custom_hooks = [dict(type='MyOwnHook')]",
    "custom_hooks = [dict(type='CheckpointHook', interval=2)]",
    "custom_hooks = dict(type='EMAHook')",
    "default_hooks = dict(ema=dict(type='EMAHook', begin_iter=-1))",
    "default_hooks = dict(early_stopping=dict(type='EarlyStoppingHook', monitor=''))",
    "custom_hooks = [dict(type='EarlyStoppingHook')]",
    "custom_hooks = [dict(type='EarlyStoppingHook', monitor='mAP', patince=2)]",
    "custom_hooks = [dict(type='EarlyStoppingHook', monitor='mAP', min_delta='0')]",
    "custom_hooks = [dict(type='EarlyStoppingHook', monitor='mAP', rule=['less'])]",
    "default_hooks = dict(checkpoint=dict(type='MyHook'))",
    "default_hooks = dict(checkpoint=dict(save_best=['auto', 'coco/bbox_mAP']))",
    "default_hooks = dict(checkpoint=dict(save_best=True))",
    "default_hooks = dict(checkpoint=dict(save_best='auto', rule='more'))",
    "default_hooks = dict(checkpoint=dict(less_keys=[1]))",
    "default_hooks = dict(checkpoint=dict(out_dir='s3://x'))",
    "default_hooks = dict(checkpoint=dict(interval=0))",
    "default_hooks = dict(chekpoint=dict(interval=1))",
    "default_hooks = dict(logger=dict(interval=0))",
    "default_hooks = dict(param_scheduler=None)",
    "default_hooks = dict(sampler_seed=None)",
    "train_dataloader = dict(sampler=dict(shufle=False))",
    "train_dataloader = dict(sampler=dict(type='DefaultSampler', source_ratios=[1, 2]))",
    "train_dataloader = dict(sampler=dict(seed=3))",
    "train_dataloader = dict(sampler=dict(shuffle='no'))",
    "train_dataloader = dict(batch_sampler=dict(typ='AspectRatioBatchSampler'))",
    "val_dataloader = dict(batch_sampler=dict(type='TrackAspectRatioBatchSampler'))",
    "train_dataloader = dict(drop_last='yes')",
    "train_dataloader = dict(collate_fn=dict(type='yolov5_collate'))",
    "train_dataloader = dict(num_batch_per_epoch=0)",
    "train_dataloader = dict(worker_init_fn=dict(type='mine'))",
    "val_dataloader = [dict(batch_size=1)]",
    "optim_wrapper = dict(type='ApexOptimWrapper')",
    "optim_wrapper = dict(type='AmpOptimWrapper', use_fsdp=True)",
    "test_cfg = dict(type='TeacherStudentValLoop')",
    "train_cfg = dict(max_iters=90000)",
    "train_cfg = dict(by_epoch=False)",
    "train_cfg = dict(max_epochs=0)",
    "train_cfg = dict(val_interval=-1)",
    "train_cfg = dict(dynamic_intervals=[3, 1])",
    "train_cfg = dict(dynamic_intervals=[(2, 1), (4, 0)])",
    "train_cfg = dict(val_begn=3)",
    "train_cfg = dict(type='IterBasedTrainLop', max_iters=5)",
    "train_cfg = dict(type='IterBasedTrainLoop')",
    "train_cfg = dict(type='IterBasedTrainLoop', max_iters=5, max_epochs=12)",
    "train_cfg = dict(type='IterBasedTrainLoop', max_iter=5)",
    "train_cfg = dict(by_epoch=False, max_iters=1000, val_interval=0.5)",
    "randomness = dict(sed=1)",
    "randomness = dict(seed='1')",
    "randomness = dict(seed=-1)",
    "randomness = dict(seed=1 << 32)",
    "randomness = dict(deterministic='no')",
    "auto_scale_lr = dict(enabled=True)",
    "auto_scale_lr = dict(enable=True, base_batch_size=0)",
    "auto_scale_lr = True",
    "resume = 'epoch_3.pth'",
    "runner_type = 'FlexibleRunner'",
    "default_scope = 'mmyolo'",
    "lr_config = dict(policy='step', step=[8, 11])",
    "optimizer = dict(type='SGD', lr=0.5)",
    "fp16 = dict(loss_scale=512.)",
    "seed = 3",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_would_change_numbers_and_is_not_done_is_refused_in_one_line(tmp_path, text) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value) and "config" not in str(caught.value).split()[1:2]
    words = text.replace("(", " ").replace("=", " ").split()
    assert any(word in str(caught.value) for word in words[:1])


ACCEPTED = [
    "env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))",
    "log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)\nlog_level = 'INFO'\nlauncher = 'none'",
    "vis_backends = [dict(type='LocalVisBackend')]\nvisualizer = dict(type='DetVisualizer', vis_backends=vis_backends)",
    "find_unused_parameters = True\nmodel_wrapper_cfg = dict(type='MMDistributedDataParallel')",
    "tta_model = dict(type='DetTTAModel')\ntta_pipeline = []\ndefault_scope = 'mmdet'\nresume = False",
    "custom_hooks = [dict(type='NumClassCheckHook'), dict(type='mmdet.CheckInvalidLossHook', interval=50)]",
    "custom_hooks = None",
    "custom_hooks = [dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=3, min_delta=0.005, rule=None)]",
    "custom_hooks = [dict(type='EMAHook', ema_type='mmdet.ExpMomentumEMA', momentum=0.0002, priority=49, gamma=2000)]",
    "default_hooks = dict(ema=dict(type='EMAHook', update_buffers=True, strict_load=True, begin_epoch=0, device=None))",
    "default_hooks = None",
    "default_hooks = dict(checkpoint=None, logger=None, timer=None, visualization=None)",
    "default_hooks = dict(visualization=dict(type='DetVisualizationHook', draw=True, interval=3))",
    "default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=True, save_last=True, rule='greater'))",
    "default_hooks = dict(checkpoint=dict(_scope_='mmdet', type='mmengine.CheckpointHook', save_best=None))",
    "default_hooks = dict(checkpoint=dict(save_best=['coco/bbox_mAP', 'x'], rule=['less', None], greater_keys='y'))",
    "default_hooks = dict(checkpoint=dict(save_best='auto', max_keep_ckpts=1, rule=None, less_keys=None))",
    "train_dataloader = dict(pin_memory=True, prefetch_factor=4, timeout=60, persistent_workers=True, drop_last=False)",
    "train_dataloader = dict(collate_fn=dict(type='mmengine.dataset.pseudo_collate'))",
    "train_dataloader = dict(sampler=dict(type='mmengine.DefaultSampler', shuffle=False, round_up=False, seed=None))",
    "train_dataloader = dict(batch_sampler=None)",
    "train_dataloader = None\nval_dataloader = None\nval_evaluator = None",
    "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_begin=2, dynamic_intervals=[(2, 1)])",
    "train_cfg = dict(by_epoch=True, max_epochs=3)",
    "train_cfg = dict(type='IterBasedTrainLoop', max_iters=9e4, val_interval=1e4, dynamic_intervals=[(80001, 5000)])",
    "train_cfg = dict(by_epoch=False, max_iters=3, val_begin=2, fast_forward_on_resume=True)",
    "val_cfg = dict(type='ValLoop', fp16=True)\ntest_cfg = None",
    "optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')",
    "randomness = dict(seed=(1 << 32) - 1)",
    "randomness = dict(seed=None, deterministic=True, diff_rank_seed=False)",
    "auto_scale_lr = dict(enable=False, base_batch_size=16)",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_changes_no_number_is_accepted(tmp_path, text) -> None:
    load(tmp_path, text)


def test_what_a_refusal_says_names_the_hook_and_what_to_do(tmp_path) -> None:
    said = "config key 'custom_hooks\\[0\\]' is 'MeanTeacherHook', which is not supported: .*remove it to train on"
    with pytest.raises(UserError, match=said):
        load(tmp_path, "custom_hooks = [dict(type='MeanTeacherHook')]")
    with pytest.raises(UserError, match=r"'MyEMAHook'.*\(did you mean 'EMAHook'\?\)"):
        load(tmp_path, "custom_hooks = [dict(type='MyEMAHook')]")


def test_a_top_level_data_preprocessor_is_the_models_where_that_has_none(tmp_path) -> None:
    text = "data_preprocessor = dict(pad_size_divisor=64)\nmodel = dict(type='X'{})"
    assert load(tmp_path, text.format("")).model.data_preprocessor.pad_size_divisor == 64
    own = load(tmp_path, text.format(", data_preprocessor=dict(pad_size_divisor=1)"))
    assert own.model.data_preprocessor.pad_size_divisor == 1


def test_a_config_that_was_made_in_python_is_checked_as_a_file_is() -> None:
    check(Config({"train_cfg": {"max_epochs": 1}}))
    with pytest.raises(UserError, match="MeanTeacherHook"):
        check(Config({"custom_hooks": [{"type": "MeanTeacherHook"}]}))
