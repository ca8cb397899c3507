# A control for the demo (make demo-controls): stage 2 trained on one of the data sets only, for as many epochs.
# All steps of open_world.py with three more, in the same work dir: those that are done there are not done again.
_base_ = ['./open_world.py']

work_dir = 'work_dirs/open_world'
note = f'{_base_.note} Train_a only: stage 2 trained on one data set, for as many epochs.'
steps = [
    *_base_.steps,
    dict(
        name='stage_2_one_set',
        task='train',
        minutes=1.7,
        config='stage_2_one_set.py',
        options={**_base_._from_stage_1, f'{_base_._one}.proposal_file': '{proposals}/proposals'}),
    dict(
        name='base_one_set',
        task='evaluate',
        minutes=0.2,
        config='detect_base.py',
        weights='stage_2_one_set',
        title='train_a only',
        options=_base_._validation),
    dict(
        name='never_seen_one_set',
        task='evaluate',
        minutes=0.2,
        config='detect_never_seen.py',
        weights='stage_2_one_set',
        title='train_a only',
        options=_base_._validation),
]
