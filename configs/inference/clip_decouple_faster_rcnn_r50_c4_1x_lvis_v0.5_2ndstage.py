# Stage 2 on LVIS, whose classes were never trained on: classifies an image's best 100 boxes of stage 1 and fuses their
# scores with the classes'.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip_c4_fast_rcnn.py', '../_base_/datasets/loading.py',
    '../_base_/datasets/lvis_v05.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIPInference', beta=0.3, num_classes=1230, zeroshot_path=_base_.lvis_embeddings)),
    test_cfg=dict(rcnn=dict(max_per_img=300)))
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='LoadProposals', num_max_proposals=100, load_score=True),
    *_base_.test_pipeline[1:],
]
test_dataloader = dict(
    batch_size=1,
    dataset=dict(_base_.lvis_val, proposal_file='proposals/lvis_v0.5', pipeline=test_pipeline))
test_evaluator = _base_.lvis_metric
