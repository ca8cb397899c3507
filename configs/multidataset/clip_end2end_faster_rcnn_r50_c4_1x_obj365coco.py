# Both stages in one network, on COCO and Objects365: a vocabulary for each. Evaluated on COCO's.
# 12 epochs, as all others; upstream's file says 1.
_base_ = ['../singledataset/clip_end2end_faster_rcnn_r50_c4_1x_coco.py', '../_base_/datasets/objects365.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIPPartitioned',
            num_classes=365,
            zeroshot_path=[_base_.coco_embeddings, _base_.objects365_embeddings],
            cat_freq_path=[None, _base_.objects365_counts])))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(part, pipeline=_base_.train_pipeline) for part in (_base_.coco_train, _base_.objects365_train)
        ]))
