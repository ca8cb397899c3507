"""The contenders of benchmarks.step: the same detector in Jittor (ours) and in PyTorch, each in a process of its own.

    cases            what both sides share: configs, weights by parameter name, a batch; numpy only
    jittor_side      the trainer's own classes
    torch_side       MMDetection's modules, and in torch_stage_1 and torch_stage_2 what MMDetection has not
    mmcv_operators   RoIAlign and NMS of MMDetection's compiled library, if it is installed

A contender answers four requests (see Side): the parts it has, what a step's losses are, timed runs of a part, and how
many kernels it has loaded.
"""
