"""Checks the data sets of a config, before hours are spent on training.

    every data set of train, val and test ── each check of `data_server.checks` ──► a line of what is there,
                                                                                    and what is wrong with it

Data sets are looked at one after the other, so the memory needed is that of the largest. Of images, some are decoded
unless all are asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
from types import ModuleType

from mmengine.config import Config

from data_server import checks
from data_server.checks.findings import Findings
from data_server.checks.subject import Subject, subjects
from data_server.datasets.lazy_imports import import_mmdetection
from shared import modules
from shared.command_line import FINDINGS, GOOD
from shared.config import add_arguments, load_config
from shared.data_part import data_part, from_plain
from shared.datasets import REPEATING, wrappers_within
from shared.errors import UserError
from shared.terminal import one_line, show

DECODED = 200


def all_checks() -> list[ModuleType]:
    """The modules of `data_server.checks` that are checks, by name."""
    found = (importlib.import_module(f"{checks.__name__}.{name}") for name in modules.names(checks))
    return [module for module in found if hasattr(module, "check")]


def look_at(subject: Subject) -> tuple[str, Findings]:
    """One line about what is in a data set, and what is wrong with it."""
    found = Findings()
    said = [check.check(subject, found) for check in all_checks()]
    return "; ".join(filter(None, said)), found


def report(config: Config, decode: int | None) -> int:
    """Checks every data set of a config and prints what it finds; returns the exit code.

    Args:
        decode: how many images of each are decoded; None: all.

    Raises:
        UserError: the config has no data set, or a dataloader lacks something.
    """
    import_mmdetection()
    from data_server.datasets.building import open_registries

    open_registries(config.get("custom_imports"))
    checked: dict[str, str] = {}
    errors = warnings = 0
    for subject in subjects(config, decode):
        show(f"\n{subject}")
        twin = checked.setdefault(repr((subject.dataset, subject.training and subject.number)), str(subject))
        if twin != str(subject):
            show(f"  the same as {twin}")
            continue
        summary, found = look_at(subject)
        show(f"  {one_line(summary)}")
        for finding in found:
            show(f"  {one_line(str(finding))}")
        errors, warnings = errors + found.errors, warnings + found.warnings
    if not checked:
        raise UserError(f"config {config.filename!r} has no data set: no train_, val_ or test_dataloader")
    if not errors and (of_an_epoch := _images_of_an_epoch(config)):
        show(f"\n{of_an_epoch}")
    show(f"\n{errors} kinds of errors, {warnings} of warnings in {len(checked)} data sets")
    return FINDINGS if errors else GOOD


def _images_of_an_epoch(config: Config) -> str:
    """How many images its training has in an epoch, where data sets within others come more often than once."""
    from data_server.datasets.parts import Datasets  # brings torch in

    if not config.get("train_dataloader"):
        return ""
    part = from_plain(data_part(config, "train"))
    if not any(kind in REPEATING for kind in wrappers_within(part["dataset"])):
        return ""
    with contextlib.redirect_stdout(None):  # pycocotools prints progress
        return f"train: {len(Datasets(part)):,} images in an epoch"


def main(argv: list[str]) -> int:
    """``python -m data_server check --config C [--images all|N]``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m data_server check", description="Check the data sets of a config before training."
    )
    add_arguments(parser)
    parser.add_argument(
        "--images",
        type=_number_or_all,
        default=DECODED,
        metavar="all|N",
        help="how many images of each data set are decoded (default: %(default)s, spread over all)",
    )
    options = parser.parse_args(argv)
    return report(load_config(options.config, options.cfg_options), options.images)


def _number_or_all(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("expected a number, or all")
    return int(text)
