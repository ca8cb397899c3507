# A control: stage 2 trained on one data set only, for as many steps as on both.
_base_ = ['./stage_2.py']

model = dict(roi_head=dict(bbox_head=dict(zeroshot_path=['{data_root}/train_a.npy'])))
train_dataloader = dict(dataset=dict(datasets=[_base_.train_a]))
train_cfg = dict(max_epochs=20)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=20, T_max=20),
]
