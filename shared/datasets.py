"""A dataloader's ``dataset`` as a config has it: one data set of MMDetection's, or several in a ``ConcatDataset``."""

from __future__ import annotations

from typing import Any

_NOT_AT_INFERENCE = ("filter_cfg", "indices", "proposal_file", "proposal_model")


def parts_of(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """The data sets of a ``ConcatDataset``, in its order; any other is its own and only part."""
    return list(dataset["datasets"]) if dataset.get("type") == "ConcatDataset" else [dataset]


def whole(dataset: dict[str, Any], pipeline: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The config of a data set with all its images, in its order, as at inference: unfiltered and without proposals.

    Args:
        dataset: one, not several.
        pipeline: how images are prepared; None: by the data set's own pipeline.
    """
    steps = dataset.get("pipeline", ()) if pipeline is None else pipeline
    return {
        **{key: value for key, value in dataset.items() if key not in _NOT_AT_INFERENCE},
        "pipeline": [step for step in steps if step.get("type") != "LoadProposals"],
        "test_mode": True,
    }


def with_data_root(dataset: dict[str, Any], data_root: str | None) -> dict[str, Any]:
    """A copy in which every data set has `data_root` that has none of its own, also those within others."""
    filled = dict(dataset)
    if "datasets" in filled:
        filled["datasets"] = [with_data_root(part, data_root) for part in filled["datasets"]]
    elif "dataset" in filled:
        filled["dataset"] = with_data_root(filled["dataset"], data_root)
    elif data_root is not None:
        filled.setdefault("data_root", data_root)
    return filled
