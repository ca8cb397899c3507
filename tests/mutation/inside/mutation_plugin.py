"""The pytest plugin inside of a copy of the project.

$MUTATION_TESTS names a JSON file with the tests to run, in this order. Each report goes to $MUTATION_EVENTS as a line
``[test, seconds, outcome]``, and the functions that run (`mutation_probe`) are told by test.
"""

import json
import os
from pathlib import Path

import mutation_probe
import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    if "MUTATION_TESTS" in os.environ:
        order = {test: place for place, test in enumerate(json.loads(Path(os.environ["MUTATION_TESTS"]).read_text()))}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    mutation_probe.enter(item.nodeid)
    try:
        return (yield)
    finally:
        mutation_probe.enter("")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    left = mutation_probe.enter("") if fixturedef.scope != "function" else None
    try:
        return (yield)
    finally:
        if left is not None:
            mutation_probe.enter(left)


def pytest_runtest_logreport(report):
    mutation_probe.tell([report.nodeid, report.duration, report.outcome])
