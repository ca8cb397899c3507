# Stage 2 on COCO: tells what is in the boxes of stage 1. Upstream trains this one in half precision, all others not;
# here all train in float32.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip_c4_fast_rcnn.py', '../_base_/schedules/clip_1x.py',
    '../_base_/datasets/loading.py', '../_base_/datasets/coco.py']

load_from = '{data_root}/weights/regionclip_pretrained-cc_rn50.pth'
model = dict(roi_head=dict(bbox_head=dict(num_classes=80, zeroshot_path=_base_.coco_embeddings)))
train_dataloader = dict(
    dataset=dict(
        _base_.coco_train,
        proposal_file='proposals/coco',
        pipeline=_base_.train_pipeline_with_proposals))
val_dataloader = dict(
    dataset=dict(_base_.coco_val, proposal_file='proposals/coco', pipeline=_base_.test_pipeline_with_proposals))
val_evaluator = _base_.box_metric
# Everything that trains is CLIP's: one rate for all.
optim_wrapper = dict(optimizer=dict(lr=0.002), paramwise_cfg=dict(custom_keys=dict(_delete_=True)))
