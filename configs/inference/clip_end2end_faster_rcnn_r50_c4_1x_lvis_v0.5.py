# Both stages in one network on LVIS, whose classes were never trained on.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip_c4_faster_rcnn.py', '../_base_/datasets/loading.py',
    '../_base_/datasets/lvis_v05.py']

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1230, zeroshot_path=_base_.lvis_embeddings)),
    test_cfg=dict(rcnn=dict(max_per_img=300)))
test_dataloader = dict(batch_size=1, dataset=dict(_base_.lvis_val, pipeline=_base_.test_pipeline))
test_evaluator = _base_.lvis_metric
