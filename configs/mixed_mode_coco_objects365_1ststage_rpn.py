# Stage 1 on small parts of COCO and Objects365, all boxes one class; 2 images a step on one device.
_base_ = ['./multidataset/clip_decouple_faster_rcnn_r50_c4_1x_objcoco_1ststage.py', './_base_/datasets/small_parts.py']

coco_train = dict(_base_.coco_train, **_base_.small_coco_train)
objects365_train = dict(_base_.objects365_train, **_base_.small_objects365_train)
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(part, class_agnostic=True, pipeline=_base_.train_pipeline) for part in (coco_train, objects365_train)
        ]))
val_dataloader = dict(dataset=_base_.small_coco_val)
proposal_dir = '{data_root}/proposals/mixed_mode'

train_cfg = dict(max_epochs=4, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.005), clip_grad=dict(max_norm=20, norm_type=2))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=4, milestones=[3])]
