# Stage 1 on LVIS's validation images, with a network trained on others: python -m trainer propose --checkpoint F writes
# the boxes that the config beside this one classifies to proposal_dir.
#
# Upstream gives this network, which was trained on ImageNet's mean and standard deviation, CLIP's, and half precision.
# Here it gets what it was trained with. Upstream's:
#   --cfg-options model.data_preprocessor.mean=[122.7709383,116.7460125,104.09373615]
#                 model.data_preprocessor.std=[68.5005327,66.6321579,70.32316305]
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/cln_r50_fpn.py', '../_base_/datasets/loading.py',
    '../_base_/datasets/lvis_v05.py']

test_dataloader = dict(
    batch_size=1, dataset=dict(_base_.lvis_val, class_agnostic=True, pipeline=_base_.test_pipeline))
proposal_dir = '{data_root}/proposals/lvis_v0.5'
