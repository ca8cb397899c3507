# Stage 2 on your data, small: names the boxes of stage 1. One config for training, calibrating, evaluating and
# detecting; full_size/stage_2.py is the real size.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip_fpn_small.py', '../_base_/schedules/clip_small.py',
    './data.py']

work_dir = 'work_dirs/own/stage_2'
stage_1 = 'work_dirs/own/stage_1'
weights = f'{stage_1}/epoch_8.safetensors'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone')),
    neck=dict(init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='neck')),
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIPInference',
            beta=0.5,
            num_classes=_base_.classes,
            zeroshot_path=_base_.embeddings)))

resize = dict(type='Resize', scale=(448, 336), keep_ratio=True)
train_pipeline = [resize if 'Resize' in step['type'] else step for step in _base_.train_pipeline]
train_pipeline.insert(1, dict(type='LoadProposals', num_max_proposals=100))
test_pipeline = [resize if 'Resize' in step['type'] else step for step in _base_.test_pipeline]
test_pipeline.insert(1, dict(type='LoadProposals', num_max_proposals=100, load_score=True))
proposals = f'{stage_1}/proposals'
train_dataloader = dict(
    batch_size=4,
    dataset=dict(_base_.own_train, proposal_file=proposals, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, dataset=dict(_base_.own_val, proposal_file=proposals, pipeline=test_pipeline))
val_evaluator = dict(type='CocoMetric', metric='bbox')

train_cfg = dict(max_epochs=8, val_interval=8)
default_hooks = dict(checkpoint=dict(interval=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[6], gamma=0.2),
]
