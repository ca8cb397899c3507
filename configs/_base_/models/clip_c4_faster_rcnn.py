# The end-to-end variant of UniDetector: stage 2 with a region proposal network of its own.
_base_ = ['./clip_c4_fast_rcnn.py']
model = dict(
    type='FasterRCNN',
    rpn_head=dict(
        type='RPNHead',
        in_channels=1024,
        feat_channels=1024,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2, 4, 8, 16, 32], ratios=[0.5, 1.0, 2.0], strides=[16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.], target_stds=[1., 1., 1., 1.]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True),
            sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5),
            allowed_border=0),
        rpn_proposal=dict(
            nms_pre=12000, nms=dict(type='nms', iou_threshold=0.7), max_per_img=2000, min_bbox_size=0)),
    test_cfg=dict(
        rpn=dict(nms_pre=6000, nms=dict(type='nms', iou_threshold=0.7), max_per_img=1000, min_bbox_size=0)))
