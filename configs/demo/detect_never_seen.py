# Detecting the demo's names that were never trained on, though each of their words was: a vocabulary of its own in the
# network of stage 2, scores fused with the proposals' and open to calibration.
_base_ = ['./stage_2.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            _delete_=True,
            type='BBoxHeadCLIPInference',
            in_channels=128,
            roi_feat_size=7,
            bbox_coder=_base_.model.roi_head.bbox_head.bbox_coder,
            loss_cls=_base_.model.roi_head.bbox_head.loss_cls,
            loss_bbox=_base_.model.roi_head.bbox_head.loss_bbox,
            num_classes=24,
            zeroshot_path='{data_root}/val_never_seen.npy',
            beta=0.5,
            gamma=0.6)))
val_dataloader = dict(batch_size=8, dataset=_base_.val_never_seen)
val_evaluator = dict(type='CocoMetric', metric='bbox')
