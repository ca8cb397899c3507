# Stage 1 on COCO, Objects365 and OpenImages, all boxes one class.
_base_ = ['./clip_decouple_faster_rcnn_r50_c4_1x_objcoco_1ststage.py', '../_base_/datasets/openimages.py']

train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(part, class_agnostic=True, pipeline=_base_.train_pipeline)
            for part in (_base_.coco_train, _base_.objects365_train, _base_.openimages_train)
        ]))
proposal_dir = '{data_root}/proposals/oidobjcoco'
