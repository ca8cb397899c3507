"""Which marks a test has because of what it uses; `slow` alone is set by hand, on what takes five seconds or so."""

from __future__ import annotations

from functools import cache

import grimp
import pytest

IMPORTED = pytest.StashKey[set[str]]()  # in the session's config: what collecting the tests has imported


@cache
def needs_jittor() -> set[str]:
    """All modules that import Jittor themselves, through others, or in a function."""
    packages = ("tests", "shared", "data_server", "trainer", "benchmarks")
    graph = grimp.build_graph(*packages, include_external_packages=True, cache_dir=None)
    return graph.find_downstream_modules("jittor")


def marks_of(item: pytest.Item) -> list[str]:
    """`photos` for a test that takes the fixture, `server` for one whose module starts data servers, `jittor` for one
    whose module needs Jittor."""
    module = item.getparent(pytest.Module).obj
    homes = {getattr(value, "__module__", None) for value in vars(module).values()}
    fixtures = set(item.fixturenames)
    marks = {
        "photos": "photos" in fixtures,
        "server": "cluster" in fixtures or not homes.isdisjoint({"tests.cluster", "tests.trainer.runs"}),
        "jittor": module.__name__ in needs_jittor(),
    }
    return [mark for mark, has_it in marks.items() if has_it]
