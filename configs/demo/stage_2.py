# Stage 2 on the demo data: the boxes of stage 1 get names. Two training sets, a vocabulary for each, one network.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip_fpn_small.py', '../_base_/schedules/clip_small.py']

data_root = 'data/demo'
# Where the recipe beside this file has python -m trainer propose put stage 1's boxes.
proposals = 'work_dirs/open_world/proposals'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIPPartitioned',
            num_classes=60,
            zeroshot_path=['{data_root}/train_a.npy', '{data_root}/train_b.npy'])))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadProposals', num_max_proposals=100),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(192, 144), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadProposals', num_max_proposals=100, load_score=True),
    dict(type='Resize', scale=(192, 144), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]


def split(name, pipeline):
    return dict(
        type='CocoDataset',
        ann_file=f'{name}.json',
        data_prefix=dict(img=f'{name}/'),
        proposal_file=proposals,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=pipeline)


train_a, train_b = split('train_a', train_pipeline), split('train_b', train_pipeline)
val_base, val_never_seen = split('val_base', test_pipeline), split('val_never_seen', test_pipeline)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(type='ConcatDataset', datasets=[train_a, train_b]))

train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=10,
        T_max=10,
        eta_min_ratio=0.01),
]
