# Stage 2 on your data at its real size, from RegionCLIP's weights, for a GPU.
_base_ = [
    '../../_base_/default_runtime.py', '../../_base_/models/clip_c4_fast_rcnn.py', '../../_base_/schedules/clip_1x.py',
    '../data.py']

work_dir = 'work_dirs/own/stage_2'
load_from = '{data_root}/weights/regionclip_pretrained-cc_rn50.pth'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIPInference',
            beta=0.3,
            num_classes=_base_.classes,
            zeroshot_path=_base_.embeddings)))

proposals = 'work_dirs/own/stage_1/proposals'
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='LoadProposals', num_max_proposals=100, load_score=True),
    *_base_.test_pipeline[1:],
]
train_dataloader = dict(
    dataset=dict(_base_.own_train, proposal_file=proposals, pipeline=_base_.train_pipeline_with_proposals))
val_dataloader = dict(dataset=dict(_base_.own_val, proposal_file=proposals, pipeline=test_pipeline))
val_evaluator = dict(type='CocoMetric', metric='bbox')
# As upstream's for COCO, of its 0.002 for 16 images a step the share of 2.
optim_wrapper = dict(optimizer=dict(lr=0.00025), paramwise_cfg=dict(custom_keys=dict(_delete_=True)))
