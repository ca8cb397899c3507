# Stage 1, small, on any folder in COCO's format. Point it at yours:
#   python -m trainer --config configs/trial/coco_photos_cln.py --cfg-options data_root=/path/to/folder
# The folder holds instances_train.json, instances_val.json and images/; other names go into
#   train_dataloader.dataset.ann_file=... train_dataloader.dataset.data_prefix.img=...
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/cln_small.py', '../_base_/schedules/cln_small.py']

data_root = 'data/coco_photos'
# Half the size that the full model is made for, hence anchors of half the size. Long, thin objects reach no IoU of 0.3
# with a square anchor; with few photos each of them counts, so their best anchors are taken from 0.1 on.
scale = (448, 336)
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    train_cfg=dict(
        rpn=dict(assigner=dict(min_pos_iou=0.1), objectness_assigner=dict(min_pos_iou=0.1)),
        rcnn=dict(sampler=dict(num=128))))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type='CocoDataset',
        ann_file='instances_train.json',
        data_prefix=dict(img='images/'),
        class_agnostic=True,
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type='CocoDataset',
        ann_file='instances_val.json',
        data_prefix=dict(img='images/'),
        class_agnostic=True,
        pipeline=test_pipeline))
# Results carry the numbers of proposal_nums; MMDetection's metric_items know the three recalls by its default ones.
val_evaluator = dict(
    type='CocoMetric',
    metric='proposal',
    proposal_nums=(10, 100, 300),
    metric_items=['AR@100', 'AR@300', 'AR@1000', 'mAP', 'mAP_50'])

train_cfg = dict(max_epochs=60, val_interval=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=60, milestones=[42, 54], gamma=0.2),
]
