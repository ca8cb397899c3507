"""A recipe: tasks that build on each other, in one file.

    steps = [
        dict(name='stage_1', task='train', config='cln.py'),
        dict(name='stage_2', task='train', config='stage_2.py', weights='stage_1', options=dict(...)),
        dict(name='evaluation', task='evaluate', config='stage_2.py', weights='stage_2', title='both data sets'),
    ]

    recipe file ─ steps.read ─► steps, one by one:
        fingerprint of what goes in ── as in state.json, results unchanged ──► nothing to do
                                    └─ else ──► python -m trainer TASK ... (a process of its own) ──► state.json
    the evaluations' results ─► one table ─► report.html

What a recipe leaves in its work dir::

    state.json        which step was run from what, and what came out
    <step>/           one work dir for each step, with its whole config and what its task leaves;
                      its .fingerprint says what it was made from
    report.html

A step is repeated when anything that goes into it has changed, and only then: its config, the annotation files, weights
and embeddings that the config names, the user's own modules in it, the results of the steps it builds on. A recipe that
was killed continues where it was: training at its last checkpoint, with the same numbers as if nothing had happened.
"""
