"""Which mutants there are of a file."""

from __future__ import annotations

import ast

import pytest

from tests.mutation import c_source, python_source
from tests.mutation.__main__ import all_mutants
from tests.mutation.mutant import ROOT, Mutant, draw

PYTHON = '''\
"""A docstring"""
from typing import TYPE_CHECKING, cast
if TYPE_CHECKING:
    limit = 1
__all__ = ["first"]
Pair = tuple[int, int]
Kind = TypeVar("Kind")
@decorated(1)
def first(a: int = 2) -> "list[int]":
    """Another"""
    if a < 3 and a != 0:
        raise ValueError(f"{a} is too small")
    print("for people", "é")
    log.info(a + 1)
    option("--out", metavar="F", nargs=3)
    names: dict[str, int] = {}
    return cast("int", -a)

class Thing:
    def reset(self):
        while not self.done:
            self.n -= 1
            break
'''


def changes(mutants: list[Mutant]) -> list[str]:
    return [f"{mutant.line} {mutant.function}: {mutant.change}" for mutant in mutants]


def test_python_is_changed_where_it_matters_and_nowhere_else():
    assert changes(python_source.mutants_of("shared/a.py", PYTHON.encode())) == [
        "9 : 2 ─► 3",
        "11 first: a < 3 ─► a <= 3",
        "11 first: a < 3 and a != 0 ─► a < 3 or a != 0",
        "11 first: a < 3 and a != 0 ─► not (a < 3 and a != 0)",
        "11 first: 3 ─► 4",
        "11 first: a != 0 ─► a == 0",
        "11 first: 0 ─► 1",
        "12 first: raise ValueError(f'{a} is too small') ─► pass",
        "13 first: print('for people', 'é') ─► pass",
        "13 first: 'é' ─► 'XXé'",
        "15 first: option('--out', metavar='F', nargs=3) ─► pass",
        "15 first: '--out' ─► 'XX--out'",
        "15 first: 3 ─► 4",
        "16 first: {} ─► None",
        "17 first: cast('int', -a) ─► None",
        "17 first: -a ─► a",
        "21 Thing.reset: not self.done ─► self.done",
        "22 Thing.reset: self.n -= 1 ─► self.n += 1",
        "22 Thing.reset: 1 ─► 2",
        "23 Thing.reset: break ─► continue",
    ]


def test_a_mutant_is_its_file_with_one_change():
    for mutant in python_source.mutants_of("shared/a.py", PYTHON.encode()):
        changed = mutant.applied_to(PYTHON.encode()).decode()
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(PYTHON))
        lines = zip(changed.splitlines(), PYTHON.splitlines(), strict=True)
        assert [place for place, (new, old) in enumerate(lines, 1) if new != old] == [mutant.line]


CPP = """\
#include <a> // 1 < 2
#define TWO \\
    2
/* 3 + 4 */
const char* name = "5 + 6";
for (int i = 0; i < std::min(n, m); i++) static_cast<int>(x) * 2.5f;
if (!done && y - 7) break;
"""


def test_cpp_is_changed_outside_of_comments_texts_and_the_preprocessor():
    mutants = c_source.mutants_of("trainer/a.cpp", CPP.encode())
    found = [(mutant.line, CPP.encode()[mutant.start : mutant.end].decode(), mutant.text) for mutant in mutants]
    assert found == [
        (6, "0", "1"),
        (6, "<", "<="),
        (6, "min", "max"),
        (6, "*", "/"),
        (7, "!", ""),
        (7, "&&", "||"),
        (7, "-", "+"),
        (7, "7", "8"),
        (7, "break", "continue"),
    ]


@pytest.mark.slow
def test_a_seed_draws_the_same_mutants_from_all_packages_in_any_order_of_their_places():
    every = list(all_mutants(ROOT))
    drawn = draw(every, 300, seed=1)
    assert drawn == draw(every, 300, seed=1) != draw(every, 300, seed=2)
    assert len(set(map(str, drawn))) == 300 and drawn != sorted(drawn, key=every.index)
    assert {mutant.path.partition("/")[0] for mutant in drawn} == {"shared", "data_server", "trainer"}
    assert any(mutant.path.endswith(".cpp") for mutant in drawn)
