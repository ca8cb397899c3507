# 12 epochs of SGD, for the localisation network. The rate is for the 16 images a step of upstream's 8 devices; with
# fewer, scale it along: --cfg-options optim_wrapper.optimizer.lr=0.0025 for 2 images.
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'))
val_dataloader = dict(batch_size=1)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=20)  # evaluated at the end only
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001))
param_scheduler = [
    # The full rate comes at step 500, as MMDetection 2 has it; MMEngine's end is the step after that.
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=501),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
