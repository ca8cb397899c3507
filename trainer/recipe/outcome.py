"""The recipe's table: one row for each evaluation and reading of its scores, one column for each split and metric.

(step's title, reading) ─ rows ─┐      a row has the results of all evaluations with the same title:
(split, metric) ─ columns ──────┴─►    one for each split, as they have vocabularies of their own
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.evaluation import results
from trainer.recipe.steps import Recipe
from trainer.reporting.table import Cell


@dataclass(frozen=True)
class Outcome:
    """The numbers that a recipe ends with.

    Attributes:
        splits: in the order of evaluation.
        metrics: of each split, and what they are called.
        rows: title -> (split, metric) -> value; what was not measured is missing.
    """

    splits: list[str]
    metrics: dict[str, str]
    rows: dict[str, dict[tuple[str, str], float]]

    def cells(self, headings: dict[str, str]) -> list[list[Cell]]:
        """The table with its header, NaN where nothing was measured; `headings` rename splits."""
        columns = [(split, metric) for split in self.splits for metric in self.metrics]
        titles = [f"{self.metrics[metric]} {headings.get(split, split)}" for split, metric in columns]
        table: list[list[Cell]] = [["", *titles]]
        for title, row in self.rows.items():
            table.append([title, *(row.get(column, float("nan")) for column in columns)])
        return table


def outcome(recipe: Recipe, folder: Callable[[str], Path]) -> Outcome:
    """Reads the results of all evaluations that have one of the recipe's metrics.

    Args:
        folder: a step's work dir by its name.
    """
    splits: list[str] = []
    rows: dict[str, dict[tuple[str, str], float]] = {}
    for step in recipe.steps:
        if step.task != "evaluate":
            continue
        for name, metrics in results.read(folder(step.name)).items():
            split, _, reading = name.partition(", ")
            title = f"{step.title}, {reading}" if reading else step.title
            values = {key: metrics.get(key) for key in recipe.metrics}
            found = {(split, key): value for key, value in values.items() if value is not None}
            if found:
                splits += [split] if split not in splits else []
                rows.setdefault(title, {}).update(found)
    return Outcome(splits, recipe.metrics, rows)
