# Two label spaces over one network: the small stage 2 of coco_photos_clip.py on the same photos twice, once with COCO's
# names and once with Objects365's, each with its own text embeddings; a batch may hold images of both.
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
