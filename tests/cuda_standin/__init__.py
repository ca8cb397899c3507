"""Stand-ins for CUDA's libraries, with which Jittor's build for GPUs runs where there is no card.

Jittor's own code generator, executor and allocators run on them, and ours with them: what they ask of a card is what
they would ask of a real one. Launches, copies, waits and bytes are counted; nothing is computed, and no time is that of
a card. It needs g++ alone.

    toolkit    a folder as a CUDA 12.2 with cuDNN 8 would be: headers, libraries, nvcc
    nvcc       its compiler
    process    ``python -m tests.cuda_standin.process MODULE ...`` runs a module with such a card in the machine
    card       what has been asked of the card
    steps      training steps at full size, as figures

The first process compiles Jittor's core: some minutes, once. ``make gpu-standin`` runs the whole.
"""
