# All of docs/guide.md in one command: train stage 1, propose, train stage 2, calibrate, evaluate.
#   python -m trainer --recipe configs/own/recipe.py
title = 'My detector'
note = 'Shuffled embeddings: the same network and boxes, every name with the text embedding of another.'
_proposals = {
    f'{part}_dataloader.dataset.proposal_file': '{proposals}/proposals' for part in ('train', 'val')
}
_weights = '{stage_1}/epoch_8.safetensors'
_trained = {
    'model.backbone.init_cfg.checkpoint': _weights,
    'model.neck.init_cfg.checkpoint': _weights,
    **_proposals,
}
steps = [
    dict(name='stage_1', task='train', config='stage_1.py'),
    dict(name='proposals', task='propose', config='stage_1.py', weights='stage_1'),
    dict(name='stage_2', task='train', config='stage_2.py', options=_trained),
    dict(name='calibration', task='calibrate', config='stage_2.py', weights='stage_2', options=_trained),
    dict(
        name='evaluation',
        task='evaluate',
        config='stage_2.py',
        weights='stage_2',
        title='my detector',
        arguments=['--chance', '--draw'],
        options={**_trained, 'model.roi_head.bbox_head.calibration': '{calibration}/calibration.json'}),
]
