"""Mutants of a C or C++ file, without a parser: clang-format sees to it that binary operators stand between spaces.

What is changed: comparisons, arithmetic, `&&`, `||`, `!`, whole numbers, `min`, `max`, `true`, `false`, `break` and
`continue`. What is not: comments, texts in quotes, lines of the preprocessor.
"""

from __future__ import annotations

import re

from tests.mutation.mutant import Mutant

SWAPPED = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "%": "/",
    "&&": "||",
    "||": "&&",
    "+=": "-=",
    "-=": "+=",
    "*=": "/=",
    "/=": "*=",
    "min": "max",
    "max": "min",
    "break": "continue",
    "continue": "break",
    "true": "false",
    "false": "true",
}
_IGNORED = rb'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#(?:[^\n\\]|\\\n|\\.)*'
_OPERATOR = rb"(?<= )(?P<operator>[<>=!]=|&&|\|\||[-+*/]=|[-<>+*/%])(?= )"
_WORD = rb"\b(?P<word>min|max|break|continue|true|false)\b"
_NUMBER = rb"(?<![\w.])(?P<number>\d+)(?![\w.])"
_NOT = rb"(?P<not>!)(?=[\w(])"
_TOKEN = re.compile(b"|".join([_IGNORED, _OPERATOR, _WORD, _NUMBER, _NOT]), re.MULTILINE | re.DOTALL)


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """All mutants of the file `path`, in the order of their places."""
    found = []
    for token in _TOKEN.finditer(source):
        if token.lastgroup is None:
            continue
        old = token[0].decode()
        new = str(int(old) + 1) if token.lastgroup == "number" else SWAPPED.get(old, "")
        line = source.count(b"\n", 0, token.start())
        text = source.splitlines()[line].decode()
        column = token.start() - (source.rfind(b"\n", 0, token.start()) + 1)
        changed = text[:column] + new + text[column + len(old) :]
        change = f"{text.strip()} ─► {changed.strip()}"
        found.append(Mutant(path, line + 1, column + 1, token.start(), token.end(), new, "", change))
    return found
