# Stage 1 on COCO: finds boxes of anything, whatever its class. Stage 2 needs its boxes of the training and validation
# images: python -m trainer propose writes them to proposal_dir.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/cln_r50_fpn.py', '../_base_/schedules/cln_1x.py',
    '../_base_/datasets/loading.py', '../_base_/datasets/coco.py']

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{data_root}/weights/resnet50-0676ba61.pth')))
train_dataloader = dict(dataset=dict(_base_.coco_train, class_agnostic=True, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(_base_.coco_val, class_agnostic=True, pipeline=_base_.test_pipeline))
proposal_dir = '{data_root}/proposals/coco'
val_evaluator = _base_.recall_metric
