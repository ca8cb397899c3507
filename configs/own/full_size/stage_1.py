# Stage 1 on your data at its real size, for a GPU.
_base_ = [
    '../../_base_/default_runtime.py', '../../_base_/models/cln_r50_fpn.py', '../../_base_/schedules/cln_1x.py',
    '../data.py']

work_dir = 'work_dirs/own/stage_1'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{data_root}/weights/resnet50-0676ba61.pth')))
train_dataloader = dict(dataset=dict(_base_.own_train, class_agnostic=True, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(_base_.own_val, class_agnostic=True, pipeline=_base_.test_pipeline))
val_evaluator = dict(type='CocoMetric', metric='proposal', proposal_nums=(100, 300, 1000))
# Of upstream's 0.02 for 16 images a step, the share of 2.
optim_wrapper = dict(optimizer=dict(lr=0.0025))
