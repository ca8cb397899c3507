"""Text is UTF-8, whatever the locale: no file is read or written as text without its encoding."""

import ast

import pytest

from tests.cluster import ROOT

FILES = [path for package in ("data_server", "shared", "trainer") for path in sorted((ROOT / package).rglob("*.py"))]


def lacks_encoding(call: ast.Call) -> bool:
    """Whether a call opens text without saying how it is encoded."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {keyword.arg for keyword in call.keywords}
    if name in ("read_text", "write_text"):
        return "encoding" not in given
    if (isinstance(call.func, ast.Name) and name == "open") or name == "fdopen":
        mode = ast.unparse(call.args[1]) if len(call.args) > 1 else "r"
        return "b" not in mode and "encoding" not in given
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_say_their_encoding(path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if lacks_encoding(call)] == []
