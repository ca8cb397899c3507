"""What a card has to show, once, on a machine that has one: ``make gpu-check``.

    part        what it runs                                               wanted
    operators   every operator with a CUDA source, convolutions, products  the CPU's numbers, in float32 and in half
                and both stages' losses and gradients
    parity      tests/parity, on the card, with TF32 off                   all pass
    memory      300 steps of nine sizes of each stage, at full size        flat to 1 % from the 50th
    equal       each stage twice with every sum in one order               the same weights, to the last bit
    speed       benchmarks.step on the card, in float32, with TF32 and     a step 0.9 of PyTorch's time, 1.0 of
                in half                                                    torch.compile's; no more memory
    waiting     stage 1 on --photographs, by trainer and data server       5 % of the time, for data or anything

Each part is a process of its own, as one that uses a card and one that does not can only be two. With TF32, which is
cuDNN's default, convolutions are no closer than 1e-3, as PyTorch's; so it is off where numbers are compared.
"""
