# Stage 2 on small parts of COCO and Objects365, a vocabulary for each; 2 images a step on one device.
_base_ = ['./multidataset/clip_decouple_faster_rcnn_r50_c4_1x_objcoco_2ndstage.py', './_base_/datasets/small_parts.py']

model = dict(roi_head=dict(bbox_head=dict(cat_freq_path=[None, _base_.small_objects365_counts])))
coco_train = dict(_base_.coco_train, **_base_.small_coco_train)
objects365_train = dict(_base_.objects365_train, **_base_.small_objects365_train)
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(part, proposal_file='proposals/mixed_mode', pipeline=_base_.train_pipeline_with_proposals)
            for part in (coco_train, objects365_train)
        ]))
val_dataloader = dict(dataset=dict(_base_.small_coco_val, proposal_file='proposals/mixed_mode'))

train_cfg = dict(max_epochs=4, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=0.005))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=4, milestones=[3])]
