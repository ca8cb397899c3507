# For the CLIP detectors: what CLIP has learnt changes ten times slower than the rest. Gradients begin with norms above
# 1000, so the clipping is needed.
_base_ = ['./cln_1x.py']
train_cfg = dict(val_interval=1)
optim_wrapper = dict(
    clip_grad=dict(max_norm=35, norm_type=2),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1), roi_head=dict(lr_mult=0.1))))
