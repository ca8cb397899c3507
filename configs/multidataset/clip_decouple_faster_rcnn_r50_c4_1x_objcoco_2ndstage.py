# Stage 2 on COCO and Objects365: a vocabulary for each, everything else shared. Evaluated on COCO's.
_base_ = ['../singledataset/clip_decouple_faster_rcnn_r50_c4_1x_coco_2ndstage.py', '../_base_/datasets/objects365.py']

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
            dict(part, proposal_file='proposals/objcoco', pipeline=_base_.train_pipeline_with_proposals)
            for part in (_base_.coco_train, _base_.objects365_train)
        ]))
val_dataloader = dict(dataset=dict(proposal_file='proposals/objcoco'))
optim_wrapper = dict(
    optimizer=dict(lr=0.02),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1), roi_head=dict(lr_mult=0.1))))
