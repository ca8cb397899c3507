# For the small CLIP detectors. A large rate, because the class logits see only the direction of a RoI's vector, which
# is long. The last norm of each block of the head starts at 0 and has far to go; backbone and neck have not.
_base_ = ['./cln_small.py']
optim_wrapper = dict(
    optimizer=dict(lr=0.004),
    paramwise_cfg=dict(
        custom_keys={'bn3.weight': dict(lr_mult=5), 'backbone': dict(lr_mult=0.25), 'neck': dict(lr_mult=0.25)}))
