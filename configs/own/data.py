# Your data: a folder in COCO's format, and how many classes it names. These lines are all that has to be yours;
# docs/guide.md goes through the rest. Other names of files and folders go in here.
_base_ = ['../_base_/datasets/loading.py']

data_root = 'data/mine'
classes = 6
embeddings = '{data_root}/names.npy'
own_train = dict(
    type='CocoDataset',
    ann_file='train.json',
    data_prefix=dict(img='images/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=32))
own_val = dict(type='CocoDataset', ann_file='val.json', data_prefix=dict(img='images/'))
