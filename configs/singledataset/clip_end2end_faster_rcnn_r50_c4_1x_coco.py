# Both stages in one network, on COCO.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip_c4_faster_rcnn.py', '../_base_/schedules/clip_1x.py',
    '../_base_/datasets/loading.py', '../_base_/datasets/coco.py']

load_from = '{data_root}/weights/regionclip_pretrained-cc_rn50.pth'
model = dict(roi_head=dict(bbox_head=dict(num_classes=80, zeroshot_path=_base_.coco_embeddings)))
train_dataloader = dict(dataset=dict(_base_.coco_train, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(_base_.coco_val, pipeline=_base_.test_pipeline))
val_evaluator = _base_.box_metric
