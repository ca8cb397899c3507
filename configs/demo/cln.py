# Stage 1 on the demo data (make demo): two training sets with different vocabularies, all boxes one class.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/cln_small.py', '../_base_/schedules/cln_small.py']

data_root = 'data/demo'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(192, 144), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 144), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]


def split(name, pipeline):
    return dict(
        type='CocoDataset',
        ann_file=f'{name}.json',
        data_prefix=dict(img=f'{name}/'),
        class_agnostic=True,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=pipeline)


train_dataloader = dict(
    batch_size=8,
    dataset=dict(type='ConcatDataset', datasets=[split('train_a', train_pipeline), split('train_b', train_pipeline)]))
val_dataloader = dict(batch_size=8, dataset=split('val_base', test_pipeline))
test_dataloader = dict(batch_size=8, dataset=split('val_never_seen', test_pipeline))

# Recall of the best 10, 100 and 300 proposals of an image over IoU 0.5 to 0.95, and average precision, as one class.
# MMDetection knows the three recalls by the names of its default numbers; results carry the numbers given here.
val_evaluator = dict(
    type='CocoMetric',
    metric='proposal',
    proposal_nums=(10, 100, 300),
    metric_items=['AR@100', 'AR@300', 'AR@1000', 'mAP', 'mAP_50'])
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=4, milestones=[3], gamma=0.2),
]
