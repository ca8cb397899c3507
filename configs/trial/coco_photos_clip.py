# Does stage 2 learn what it is shown? CLIP's text embeddings, its head at a sixteenth of its width and a region
# proposal network on the small pyramid, all from scratch, overfit 16 photos of a folder in COCO's format and are
# evaluated on the same 16; mAP_50 ends above 0.8:
#   python -m trainer --config configs/trial/coco_photos_clip.py --cfg-options data_root=/path/to/folder \
#       model.roi_head.bbox_head.zeroshot_path=/path/to/coco_clip_a+cname_rn50_manyprompt.npy
# The photos are those of the trial data whose smallest object is largest. For other folders: indices=16 takes the
# first 16.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip_fpn_small.py', '../_base_/schedules/clip_small.py']

data_root = 'data/coco_photos'
nms = dict(type='nms', iou_threshold=0.7)
model = dict(
    type='FasterRCNN',
    rpn_head=dict(
        type='RPNHead',
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.], target_stds=[1., 1., 1., 1.]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIP',
            num_classes=80,
            zeroshot_path='data/embeddings/coco_clip_a+cname_rn50_manyprompt.npy')),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True),
            sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5),
            allowed_border=0),
        rpn_proposal=dict(nms_pre=300, nms=nms, max_per_img=100)),
    test_cfg=dict(rpn=dict(nms_pre=300, nms=nms, max_per_img=100)))

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
train_dataloader = dict(batch_size=4, dataset=photos)
val_dataloader = dict(batch_size=4, dataset=photos)
val_evaluator = dict(type='CocoMetric', metric='bbox')

train_cfg = dict(max_epochs=120, val_interval=30)
default_hooks = dict(checkpoint=dict(interval=30))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(rpn_head=dict(lr_mult=0.25))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=120,
        T_max=120,
        eta_min_ratio=0.01),
]
