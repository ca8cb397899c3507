# COCO: 35k images of val2014 to train on, val2017 to evaluate on; all 80 categories of the files count.
coco_train = dict(
    type='CocoDataset',
    ann_file='coco/annotations/instances_valminusminival2014.json',
    data_prefix=dict(img='coco/images/val2014/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=32))
coco_val = dict(
    type='CocoDataset',
    ann_file='coco/annotations/instances_val2017.json',
    data_prefix=dict(img='coco/val2017/'))
coco_embeddings = '{data_root}/clip_embeddings/coco_clip_a+cname_rn50_manyprompt.npy'

box_metric = dict(type='CocoMetric', metric='bbox')
# Of a class-agnostic network: recall of an image's best 100, 300 and 1000 boxes.
recall_metric = dict(type='CocoMetric', metric='proposal', proposal_nums=(100, 300, 1000))
