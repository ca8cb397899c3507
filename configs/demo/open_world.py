# From two data sets with different names to detecting what was never named in training (make demo):
#
#   stage_1 ─► proposals ─► stage_2 ─► calibration ─► evaluation, on names that were trained and on names that were not
#
# and a control: the same network with its names' embeddings shuffled, which is chance. controls.py has another.
title = 'Open-world detection on the demo data'
summary = (
    'Two training sets with 60 names each, 24 of them in both. Detected are the 96 names of both sets, and 24 names '
    'that are in neither, though each of their words is.')
note = 'Shuffled embeddings: the same network and boxes, every name with the text embedding of another.'
headings = dict(val_base='base', val_never_seen='never seen')

# Trained without a look at the _validation images; steps of their own do that.
_training_only = dict(val_evaluator=None, test_evaluator=None)
_from_stage_1 = {
    f'model.{part}.init_cfg': dict(type='Pretrained', checkpoint='{stage_1}/epoch_4.safetensors', prefix=part)
    for part in ('backbone', 'neck')
}


def _with_proposals(*datasets):
    return {f'{dataset}.proposal_file': '{proposals}/proposals' for dataset in datasets}


_one, _two = (f'train_dataloader.dataset.datasets.{i}' for i in range(2))
_validation = _with_proposals('val_dataloader.dataset')
# Minutes are those of two quiet cores, once Jittor has compiled its kernels.
steps = [
    dict(name='stage_1', task='train', minutes=1.5, config='cln.py', options=_training_only),
    dict(
        name='stage_1_recall',
        task='evaluate',
        minutes=0.2,
        config='cln.py',
        weights='stage_1',
        title='stage 1, recall'),
    dict(name='proposals', task='propose', minutes=0.5, config='cln.py', weights='stage_1'),
    dict(
        name='stage_2',
        task='train',
        minutes=4.5,
        config='stage_2.py',
        options={**_from_stage_1, **_with_proposals(_one, _two)}),
    dict(
        name='calibration_base',
        task='calibrate',
        minutes=0.2,
        config='detect_base.py',
        weights='stage_2',
        options=_validation),
    dict(
        name='calibration_never_seen',
        task='calibrate',
        minutes=0.2,
        config='detect_never_seen.py',
        weights='stage_2',
        options=_validation),
    dict(
        name='base',
        task='evaluate',
        minutes=0.2,
        config='detect_base.py',
        weights='stage_2',
        arguments=['--chance'],
        title='both data sets',
        options={'model.roi_head.bbox_head.calibration': '{calibration_base}/calibration.json', **_validation}),
    dict(
        name='never_seen',
        task='evaluate',
        minutes=0.2,
        config='detect_never_seen.py',
        weights='stage_2',
        arguments=['--chance'],
        title='both data sets',
        options={'model.roi_head.bbox_head.calibration': '{calibration_never_seen}/calibration.json', **_validation}),
]
