"""MMDetection's own modules as an oracle: they run with torch in a process of their own and answer over a pipe.

    test (Jittor) ── Oracle.ask("assign", boxes=…, truths=…) ──► python -m tests.parity.oracle (torch, mmdet) ──► answer

mmcv's compiled operators come from an installed mmcv that has them, or from a wheel ``*mmcv*.whl`` in $WHEELS_DIR
(default: ``shared/wheels`` beside the repository), which is unpacked for that process alone. Without either, tests of
compiled operators skip.
"""
