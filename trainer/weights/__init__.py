"""Weights of other programs, read and written without those programs.

    file.read(path)    .pth (zip) ── torch_zip ────┐
                       .pth (older) ─ torch_legacy ┼─ pickled: descriptions of tensors ─ tensors: arrays by name
                       CLIP's TorchScript ─ torch_zip ┘
                       .safetensors ───────────────────────────────────────────────────────── arrays by name
    names.fit(...)     those arrays under a model's own names, and all that does not fit
    torch_writer       arrays by name -> .pth (zip), as torch.save writes it

Everything here works on numpy arrays and names; Jittor comes in with `trainer.weights.pretrained`.
"""
