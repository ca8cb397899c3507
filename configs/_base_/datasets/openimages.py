# OpenImages, the 500 classes of the 2019 challenge in COCO's format: 4.5 % of the training images.
_base_ = ['../vocabularies/openimages.py']
openimages_train = dict(
    type='CocoDataset',
    ann_file='openimages/annotations/oid_challenge_2019_train_bbox.1@4.5.json',
    data_prefix=dict(img='openimages/'),
    metainfo=dict(classes=_base_.openimages_classes),
    filter_cfg=dict(filter_empty_gt=True, min_size=32))
openimages_embeddings = '{data_root}/clip_embeddings/oid_clip_a+cname_rn50_manyprompt.npy'
openimages_counts = '{data_root}/openimages/annotations/oid_challenge_2019_train_bbox.1@4.5_cat_info.json'
