# Does stage 2 learn what it is shown? The end-to-end detector with CLIP's text embeddings, at an eighth of its width
# and from scratch, overfits 16 photos of a folder in COCO's format and is evaluated on the same 16:
#   python -m trainer --config configs/trial/coco_photos_clip.py --cfg-options data_root=/path/to/folder \
#       model.roi_head.bbox_head.zeroshot_path=/path/to/coco_clip_a+cname_rn50_manyprompt.npy
# mAP_50 ends above 0.8. The photos are those of the trial data whose smallest object is largest: one map with a stride
# of 16 pixels sees nothing small. For other folders: indices=16 takes the first 16.
_base_ = ['../_base_/default_runtime.py', '../_base_/models/clip_c4_faster_rcnn.py']

data_root = 'data/coco_photos'
width = 8
layers = [1, 1, 1, 1]
model = dict(
    # A thirtieth of CLIP's. Batch norms with fixed statistics leave the signals of random weights small, and all is linear
    # up to the RoIs: what is scaled up here arrives there scaled up.
    data_preprocessor=dict(std=[2.3, 2.2, 2.3]),
    backbone=dict(layers=layers, width=width, frozen_stages=-1),
    rpn_head=dict(
        in_channels=16 * width,
        feat_channels=16 * width,
        anchor_generator=dict(scales=[1, 2, 4, 8, 16])),
    roi_head=dict(
        shared_head=dict(layers=layers, width=width),
        bbox_roi_extractor=dict(out_channels=16 * width),
        bbox_head=dict(
            in_channels=32 * width,
            num_classes=80,
            zeroshot_path='data/embeddings/coco_clip_a+cname_rn50_manyprompt.npy')),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=500, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=50)))

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    dict(type='PackDetInputs'),
]
photos = dict(
    type='CocoDataset',
    ann_file='instances_train.json',
    data_prefix=dict(img='images/'),
    indices=[0, 2, 4, 6, 8, 12, 19, 20, 22, 27, 38, 48, 55, 67, 71, 72],
    test_mode=False,
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=pipeline)
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=photos)
val_dataloader = dict(batch_size=4, dataset=photos)
val_evaluator = dict(type='CocoMetric', metric='bbox')

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=120, val_interval=40)
default_hooks = dict(checkpoint=dict(interval=40))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.0001),
    # The norm that closes a residual block starts at 0 and has far to go.
    paramwise_cfg=dict(custom_keys={'bn3.weight': dict(lr_mult=5)}),
    clip_grad=dict(max_norm=10, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=120, milestones=[85, 108], gamma=0.2),
]
