"""Files as PyTorch, MMEngine and TorchScript write them. Run in a process of its own: ``python torch_files.py FOLDER``.

Beside them lies ``expected.npz``, the same tensors as numpy arrays (bfloat16 as float32).
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import re
import sys
import uuid
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner, save_checkpoint

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def state_dict() -> OrderedDict:
    """Tensors of every dtype and layout."""
    torch.manual_seed(0)
    tensors = OrderedDict()
    for dtype in DTYPES:
        tensors[f"dtypes.{dtype}".replace("torch.", "")] = (torch.randn(3, 4) * 9).to(dtype)
    whole = torch.randn(6, 5, 4)
    tensors["views.whole"] = whole
    tensors["views.part"] = whole[2:4]
    tensors["views.transposed"] = whole.permute(2, 0, 1)
    tensors["views.stepped"] = whole[::2, 1::3]
    tensors["views.expanded"] = torch.randn(4, 1).expand(4, 7)
    tensors["views.channels_last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors["views.bfloat16"] = torch.randn(8).bfloat16()[3:]
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["parameter"] = torch.nn.Parameter(torch.randn(5))
    return tensors


class Block(torch.nn.Module):
    """A module with a child of its own, a buffer, and attributes that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3)
        self.bn = torch.nn.BatchNorm2d(3)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU())
        self.sizes = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.bn(self.conv(x)))


def arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in tensors.items()
    }


class Small(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, **_: object) -> dict:
        return {"loss": self.layer(torch.ones(1, 1)).sum()}


def of_runner(folder: Path) -> dict:
    """What MMEngine's Runner saves after an epoch with schedulers and an average of the weights."""
    schedulers = [
        {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 2},
        {"type": "MultiStepLR", "by_epoch": True, "begin": 0, "end": 12, "milestones": [8, 11], "gamma": 0.1},
        {"type": "CosineAnnealingLR", "T_max": 3},
    ]
    # The Runner logs torchvision's version if there is one. One that does not go with torch's build, as PyPI's beside a
    # torch for the CPU, fails while it is imported.
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    Runner(
        Small(),
        work_dir=str(folder / "runner"),
        train_dataloader=torch.utils.data.DataLoader([{"inputs": torch.ones(1)}] * 4),
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}},
        param_scheduler=schedulers,
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        custom_hooks=[{"type": "EMAHook"}],
        experiment_name="small",
        default_scope="mmengine",
    ).train()
    return torch.load(folder / "runner" / "epoch_1.pth", weights_only=False)


class Stage(enum.Enum):
    FIRST = 1


def beside() -> dict:
    """What people's programs save beside weights."""
    parameter = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    adam.step()
    tagged = torch.ones(2)
    tagged.note = "a tensor with an attribute"
    return {
        "numpy": [np.float32(0.5), np.arange(3), np.array(["a"]), np.array([{1}], object), np.random.get_state()],
        "generators": [np.random.default_rng(0), torch.get_rng_state(), torch.Generator().get_state()],
        "collections": [
            collections.Counter("abca"),
            collections.defaultdict(list, a=[1]),
            collections.deque([1, 2]),
            OrderedDict([((1, 2), {3})]),
            {frozenset({1}): 2, (1, (2, 3)): 4, None: 5, 2**70: 6, 0.5: 7, b"k": 8},
        ],
        "config": Config({"model": {"type": "A", "sizes": (1, 2)}}),
        "config_dict": Config({"model": {"a": [{"b": 1}]}}).model,
        "args": argparse.Namespace(lr=1, device=torch.device("cpu")),
        "paths": [Path("a/b"), uuid.UUID(int=3), decimal.Decimal("0.1"), re.compile("a+")],
        "times": [datetime.datetime(2024, 1, 2), datetime.timedelta(3), datetime.timezone.utc],
        "enumeration": Stage.FIRST,
        "functions": [functools.partial(print, 1), print, torch.nn.functional.relu, torch.optim.SGD],
        "torch": [
            torch.float32,
            torch.Size([1, 2]),
            torch.strided,
            tagged,
            torch.ones(2).to_sparse(),
            torch.ones(1) * 1j,
        ],
        "module": torch.nn.Linear(2, 2),
        "optimizer": adam.state_dict(),
        "others": [slice(1, 2), range(3), complex(1, 2), {1, 2}, bytearray(b"x"), 2**100, ..., NotImplemented],
    }


def main(folder: Path) -> None:
    tensors = state_dict()
    np.savez(folder / "expected.npz", **arrays(tensors))
    torch.save(tensors, folder / "zip.pth")
    torch.save(tensors, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"module." + name: tensor for name, tensor in tensors.items()}, folder / "parallel.pth")
    torch.save({"model": tensors, "iteration": 3, "optimizer": {"state": {0: torch.ones(2)}}}, folder / "model.pth")

    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    hub = MessageHub.get_instance("run")
    hub.update_scalar("train/loss", 0.5)
    hub.update_info("best", np.float64(0.3))
    meta = {"epoch": 12, "dataset_meta": {"classes": ("a", "b")}, "cfg": "model = dict()", "palette": np.zeros(3)}
    document = {
        "meta": meta,
        "state_dict": tensors,
        "optimizer": optimizer.state_dict(),
        "message_hub": hub.state_dict(),
    }
    save_checkpoint(document, str(folder / "mmengine.pth"))

    document = of_runner(folder)
    torch.save(document | {"state_dict": tensors}, folder / "runner.pth")
    torch.save(document | {"state_dict": tensors}, folder / "runner_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({**beside(), "state_dict": tensors}, folder / "beside.pth")
    torch.save({**beside(), "state_dict": tensors}, folder / "beside_protocol_4.pth", pickle_protocol=4)
    for key, value in beside().items():
        torch.save({key: value, "model": tensors}, folder / f"beside_{key}.pth")
    torch.save({**beside(), "model": tensors}, folder / "beside_legacy.pth", _use_new_zipfile_serialization=False)

    block = Block().half().eval()
    np.savez(folder / "block.npz", **arrays(block.state_dict()))
    torch.jit.script(block).save(str(folder / "script.pt"))
    torch.save(block, folder / "whole_module.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
