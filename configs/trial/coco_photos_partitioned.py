# Two label spaces over one network: the detector of coco_photos_clip.py on all photos of the folder twice, once with
# COCO's names and once with Objects365's, each with its own text embeddings; a batch may hold images of both.
#   python -m trainer --config configs/trial/coco_photos_partitioned.py --cfg-options data_root=/path/to/folder \
#       model.roi_head.bbox_head.zeroshot_path=[coco.npy,objects365.npy]
# The folder holds instances_train.json and instances_objects365.json, the same boxes under the names of Objects365.
_base_ = ['./coco_photos_clip.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIPPartitioned',
            num_classes=365,
            zeroshot_path=[
                'data/embeddings/coco_clip_a+cname_rn50_manyprompt.npy',
                'data/embeddings/objects365_clip_a+cname_rn50_manyprompt.npy'])))

photos = dict(
    type='CocoDataset',
    data_prefix=dict(img='images/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=_base_.pipeline)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(ann_file='instances_train.json', **photos),
            dict(ann_file='instances_objects365.json', **photos)]))

train_cfg = dict(max_epochs=12, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=4))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=12,
        T_max=12,
        eta_min_ratio=0.01),
]
