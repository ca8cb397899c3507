# Does everything agree on your data: boxes, scales, flips, losses? Trains on the first 8 annotated photos of a folder,
# and evaluates on the same 8:
#   python -m trainer --config configs/trial/coco_photos_overfit.py --cfg-options data_root=/path/to/folder
# AR@100 ends above 0.8. If it does not, look at the contact sheet: shifted or missing boxes point at the annotations.
_base_ = ['./coco_photos_cln.py']

first_eight = dict(indices=8, test_mode=False, filter_cfg=dict(filter_empty_gt=True, min_size=32))
train_dataloader = dict(batch_size=2, dataset=first_eight)
val_dataloader = dict(batch_size=2, dataset=dict(ann_file='instances_train.json', **first_eight))

train_cfg = dict(max_epochs=240, val_interval=80)
default_hooks = dict(checkpoint=dict(interval=80))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=240, milestones=[170, 215], gamma=0.2),
]
