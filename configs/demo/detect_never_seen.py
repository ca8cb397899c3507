# Detecting the demo's names that are in no training set: the same network and rules with their vocabulary.
_base_ = ['./detect_base.py']

model = dict(roi_head=dict(bbox_head=dict(num_classes=24, zeroshot_path='{data_root}/val_never_seen.npy')))
val_dataloader = dict(dataset=_base_.val_never_seen)
