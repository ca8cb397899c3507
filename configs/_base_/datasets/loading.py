# What all data sets share. Everything is below data_root (docs/datasets.md). To put it elsewhere:
#   --cfg-options data_root=/path/to/data
# A data set picks up data_root by itself; in other texts write '{data_root}'.
data_root = 'data'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=[(1333, 400), (1333, 800)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]
# Stage 2 gets its boxes from stage 1 (proposal_file, also upstream's .pkl): a training image up to 2000, a test image
# all of them.
train_pipeline_with_proposals = [
    train_pipeline[0],
    dict(type='LoadProposals', num_max_proposals=2000),
    *train_pipeline[1:],
]
test_pipeline_with_proposals = [
    test_pipeline[0],
    dict(type='LoadProposals', num_max_proposals=None),
    *test_pipeline[1:],
]
