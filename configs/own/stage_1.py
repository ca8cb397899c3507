# Stage 1 on your data, small enough for a CPU: finds boxes of anything. full_size/stage_1.py is the real size.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/cln_small.py', '../_base_/schedules/cln_small.py', './data.py']

work_dir = 'work_dirs/own/stage_1'
# A third of the images' usual size, hence anchors of half the size.
model = dict(rpn_head=dict(anchor_generator=dict(scales=[4])), train_cfg=dict(rcnn=dict(sampler=dict(num=128))))
resize = dict(type='Resize', scale=(448, 336), keep_ratio=True)
train_pipeline = [resize if 'Resize' in step['type'] else step for step in _base_.train_pipeline]
test_pipeline = [resize if 'Resize' in step['type'] else step for step in _base_.test_pipeline]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(_base_.own_train, class_agnostic=True, pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(_base_.own_val, class_agnostic=True, pipeline=test_pipeline))
val_evaluator = dict(type='CocoMetric', metric='proposal', proposal_nums=(100, 300, 1000))

train_cfg = dict(max_epochs=8, val_interval=8)
default_hooks = dict(checkpoint=dict(interval=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[6], gamma=0.2),
]
