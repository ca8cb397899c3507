# A control: stage 2 trained on one data set only, for as many steps as on both.
_base_ = ['./stage_2.py']

model = dict(roi_head=dict(bbox_head=dict(zeroshot_path=['{data_root}/train_a.npy'])))
train_dataloader = dict(dataset=dict(datasets=[_base_.train_a]))
train_cfg = dict(max_epochs=16)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=16, milestones=[12], gamma=0.2),
]
