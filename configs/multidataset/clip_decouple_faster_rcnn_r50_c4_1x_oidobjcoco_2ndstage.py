# Stage 2 on COCO, Objects365 and OpenImages: a vocabulary for each, everything else shared. Evaluated on COCO's.
_base_ = ['./clip_decouple_faster_rcnn_r50_c4_1x_objcoco_2ndstage.py', '../_base_/datasets/openimages.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            num_classes=500,
            zeroshot_path=[_base_.coco_embeddings, _base_.objects365_embeddings, _base_.openimages_embeddings],
            cat_freq_path=[None, _base_.objects365_counts, _base_.openimages_counts])))
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(part, proposal_file='proposals/oidobjcoco', pipeline=_base_.train_pipeline_with_proposals)
            for part in (_base_.coco_train, _base_.objects365_train, _base_.openimages_train)
        ]))
val_dataloader = dict(dataset=dict(proposal_file='proposals/oidobjcoco'))
