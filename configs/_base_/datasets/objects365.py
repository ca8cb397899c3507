# Objects365 v2: 3.5 % of the training images.
_base_ = ['../vocabularies/objects365.py']
objects365_train = dict(
    type='CocoDataset',
    ann_file='objects365/annotations/zhiyuan_objv2_train.1@3.5.json',
    data_prefix=dict(img='objects365/train/'),
    metainfo=dict(classes=_base_.objects365_classes),
    filter_cfg=dict(filter_empty_gt=True, min_size=32))
objects365_embeddings = '{data_root}/clip_embeddings/objects365_clip_a+cname_rn50_manyprompt.npy'
objects365_counts = '{data_root}/objects365/annotations/zhiyuan_objv2_train.1@3.5_cat_info.json'
