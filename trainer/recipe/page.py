"""The recipe's report: the table, each training's curves, what calibration did, and of the evaluation in the table's
first row the mistakes, precision by recall, and the best and worst images."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from shared.config import seed_of
from trainer.evaluation import results
from trainer.recipe.fingerprints import program_version
from trainer.recipe.judged import judged_by
from trainer.recipe.outcome import Outcome
from trainer.recipe.state import Entry
from trainer.recipe.steps import Recipe, Step
from trainer.reporting import curves
from trainer.reporting.calibration_charts import calibration_charts
from trainer.reporting.curve_parts import curve_parts
from trainer.reporting.highlights import galleries
from trainer.reporting.html import Report, Section
from trainer.reporting.mistake_parts import mistake_parts
from trainer.reporting.mistakes import find
from trainer.reporting.parts import Part
from trainer.reporting.parts.figure import Figure
from trainer.reporting.parts.table import Cell, Table
from trainer.reporting.parts.text import Text
from trainer.training.log import METRICS_FILE
from trainer.vocabulary.calibration import CALIBRATION_FILE, weights

Folder = Callable[[str], Path]


def page(recipe: Recipe, found: Outcome, folder: Folder, entries: dict[str, Entry]) -> Report:
    """The report of a recipe that has come to its end.

    Args:
        folder: a step's work dir by its name.
        entries: what is known of each step.

    Raises:
        UserError: a step's results are gone or damaged, or a picture cannot be read.
    """
    sections = [Section("Results", [_results(recipe, found)])] if found.rows else []
    sections += [
        Section(f"Training: {step.name}", [Figure(chart) for chart in curves.read(folder(step.name) / METRICS_FILE)])
        for step in _of(recipe, "train")
    ]
    others = list(_other_evaluations(recipe, folder))
    if others:
        sections.append(Section("Other measurements", others))
    sections += _calibrations(recipe, folder)
    for step in _of(recipe, "evaluate"):
        if step.title == next(iter(found.rows), None) and (judged := judged_by(step, folder(step.name))):
            mistakes = find(judged.results)
            parts = mistake_parts(mistakes, judged.results, judged.names, judged.load)
            sections.append(Section(f"Mistakes: {step.name}", list(parts)))
            if curve_rows := list(curve_parts(mistakes, judged)):
                sections.append(Section(f"Precision by recall: {step.name}", curve_rows))
            shown = galleries(judged.results, judged.names, judged.load)
            sections.append(Section(f"Pictures: {step.name}", shown))
    sections.append(Section("Steps", [_steps(recipe, entries)]))
    facts = {
        "recipe": str(recipe.path),
        "seed": ", ".join(sorted({str(seed_of(step.config)) for step in recipe.steps})),
        "program": f"unidetector-jittor {program_version()}",
        "Python": platform.python_version(),
    }
    return Report(recipe.title, recipe.summary, sections, facts)


def _of(recipe: Recipe, task: str) -> list[Step]:
    return [step for step in recipe.steps if step.task == task]


def _results(recipe: Recipe, found: Outcome) -> Table:
    first, *rows = found.cells(recipe.headings)
    header = list(map(str, first))
    return Table("", header, rows, best=header[1:], note=recipe.note)


def _other_evaluations(recipe: Recipe, folder: Folder) -> Iterator[Table]:
    """Evaluations by other metrics than those of the recipe's table."""
    for step in _of(recipe, "evaluate"):
        found = results.read(folder(step.name))
        names = list(dict.fromkeys(name for metrics in found.values() for name in metrics))
        if not set(names) & set(recipe.metrics):
            yield Table(
                step.title,
                ["", *names],
                [[recipe.headings.get(split, split), *map(metrics.get, names)] for split, metrics in found.items()],
            )


def _calibrations(recipe: Recipe, folder: Folder) -> Iterator[Section]:
    """What each calibration did to the first evaluation that uses it."""
    for step in _of(recipe, "calibrate"):
        user = next((one for one in _of(recipe, "evaluate") if step.name in one.needs), None)
        made = json.loads((folder(step.name) / CALIBRATION_FILE).read_text(encoding="utf-8"))
        before = np.array(made["counts"])
        parts: list[Part] = [
            Text(
                f"{before.sum():,} detections in {made['images']} images, gamma {made['gamma']}; "
                f"{(before == 0).sum()} of {len(before)} names were never detected in the first pass."
            )
        ]
        if user is not None:
            predictions = np.load(next(folder(user.name).glob("predictions_*.npz")))
            after = np.bincount(predictions["labels"], minlength=len(before))
            head = user.config.model.roi_head.bbox_head
            factors = weights(before, head.get("gamma") or made["gamma"], head.get("least_count", 1.0))
            parts += map(Figure, calibration_charts(made["names"], before, after, factors))
        yield Section(f"Calibration: {step.name}", parts)


def _steps(recipe: Recipe, entries: dict[str, Entry]) -> Table:
    rows: list[list[Cell]] = [
        [step.name, step.task, entries[step.name].seconds, entries[step.name].command] for step in recipe.steps
    ]
    return Table("", ["step", "task", "seconds", "command"], rows)
