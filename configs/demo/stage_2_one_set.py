# A control: stage 2 trained on one data set only, by the same schedule.
_base_ = ['./stage_2.py']

model = dict(roi_head=dict(bbox_head=dict(zeroshot_path=['{data_root}/train_a.npy'])))
train_dataloader = dict(dataset=dict(datasets=[_base_.train_a]))
