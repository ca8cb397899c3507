"""``python -m trainer --recipe R``: runs the steps, prints the table, writes the report."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable

from shared.terminal import show
from trainer.process.interrupt import Interrupt
from trainer.process.work_dir import occupy
from trainer.recipe import steps
from trainer.recipe.outcome import outcome
from trainer.recipe.page import page
from trainer.recipe.runner import Runner, StepFailed
from trainer.reporting import html as report
from trainer.reporting import live
from trainer.reporting.table import table

REPORT_FILE = "report.html"


def run(options: argparse.Namespace, interrupt: Interrupt, say: Callable[[str], None]) -> int:
    """Returns the exit code: that of a step that failed, 130 after Ctrl-C, else 0."""
    recipe = steps.read(options.recipe, options.cfg_options)
    work_dir = options.work_dir or recipe.work_dir
    occupy(work_dir)
    server_options = [f"--data-server={options.data_server}"] if options.data_server else []
    server_options += [f"--workers={options.workers}"] if options.workers else []
    server_options += [f"--ray={options.ray}"] if options.ray else []
    runner = Runner(recipe, work_dir, server_options, say, interrupt)
    try:
        with live.served(work_dir, options.serve, say):
            finished = runner.run()
    except StepFailed as error:
        say(f"error: {error}")
        return error.code
    if not finished and interrupt.signal is not None:
        say(f"{interrupt.signal.name}: the same command continues from here")
        return 128 + signal.SIGINT if interrupt.signal is signal.SIGINT else 0
    found = outcome(recipe, runner.folder)
    report.write(page(recipe, found, runner.folder, runner.state.entries), work_dir / REPORT_FILE)
    if found.rows:
        show(table(found.cells(recipe.headings)))
    say(f"report: {work_dir / REPORT_FILE}")
    return 0
