# The class-agnostic localisation network, small enough to be trained from scratch on a CPU.
_base_ = ['./cln_r50_fpn.py']
model = dict(
    backbone=dict(depth=18, base_channels=32, frozen_stages=-1),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128), objectness_sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=300),
        rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=300), rcnn=dict(max_per_img=300)))
