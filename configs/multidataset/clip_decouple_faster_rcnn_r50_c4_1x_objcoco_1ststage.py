# Stage 1 on COCO and Objects365, all boxes one class.
_base_ = ['../singledataset/clip_decouple_faster_rcnn_r50_c4_1x_coco_1ststage.py', '../_base_/datasets/objects365.py']

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(part, class_agnostic=True, pipeline=_base_.train_pipeline)
            for part in (_base_.coco_train, _base_.objects365_train)
        ]))
proposal_dir = '{data_root}/proposals/objcoco'
