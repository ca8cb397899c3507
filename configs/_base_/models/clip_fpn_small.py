# Stage 2, small enough to be trained on a CPU in minutes: CLIP's last stage, attention pooling and text embeddings on
# the pyramid of the small stage 1, from whose weights backbone and neck start where a config says so (init_cfg).
_base_ = ['./cln_small.py']
model = dict(
    _delete_=True,
    type='FastRCNN',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32],
            finest_scale=56),
        shared_head=dict(type='CLIPResLayer', layers=[1, 1, 1, 2], width=4),
        bbox_head=dict(
            in_channels=128,
            roi_feat_size=7,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.], target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0))),
    train_cfg=dict(
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
            sampler=dict(type='RandomSampler', num=32, pos_fraction=0.5, add_gt_as_proposals=True))),
    test_cfg=dict(rcnn=dict(score_thr=0.001, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)))
