"""Files appear whole or not at all: nothing but the rooms named here opens one for writing, and all others go through
`shared.files`, or, where a file grows, through `trainer.process.journal`."""

import ast
import re

import pytest

from tests.architecture.tree import ROOT

OPEN_THEMSELVES = {
    "shared/files.py": "the one atomic write",
    "shared/address.py": "a lock",
    "shared/terminal.py": "a log, line by line",
    "trainer/process/journal.py": "logs, which grow",
    "data_server/files/proposal_file.py": "grows in its place, and is given its name at the end",
    "data_server/files/index/cache.py": "a cache of its own, in a folder that is given its name at the end",
    "data_server/files/index/columns.py": "a part of that folder",
    "data_server/demo/scenes.py": "in a fresh folder, which is given its name at the end",
    "data_server/workers/nursery.py": "/dev/null",
    "data_server/workers/trial.py": "a pipe",
    "trainer/reporting/weights_and_biases/__init__.py": "memory",
    "trainer/device/kernels.py": "in a temporary folder",
    "trainer/process/jittor_patch/__init__.py": "a copy, in a folder that is given its name at the end",
    "trainer/vocabulary/stand_ins.py": "memory",
}
FILES = {
    str(path.relative_to(ROOT)): path
    for package in ("data_server", "shared", "trainer")
    for path in sorted((ROOT / package).rglob("*.py"))
}
IN_MEMORY = ("content", "file")  # what pictures and arrays are encoded into before they are written


def writes(call: ast.Call) -> bool:
    """Whether a call opens a file for writing, or has a library do it."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    words = [ast.unparse(word) for word in (*call.args, *(keyword.value for keyword in call.keywords))]
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name in ("write_text", "write_bytes", "imwrite", "tofile"):
        return True
    encodes = name == "save" and (owner == "np" or any(keyword.arg == "format" for keyword in call.keywords))
    if encodes or name in ("savefig", "savez", "savez_compressed"):
        return words[0] not in IN_MEMORY
    if name == "open" and owner == "os":
        return any(flag in words[1] for flag in ("O_WRONLY", "O_RDWR"))
    if name in ("open", "fdopen"):
        return any(re.fullmatch(r"'[rwaxbt+]*[wax+][rwaxbt+]*'", word) for word in words)
    return False


def writing(path) -> list[int]:
    """The lines of such calls in a file."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if writes(call)]


@pytest.mark.parametrize("name", FILES)
def test_no_other_file_of_the_packages_opens_one_for_writing(name) -> None:
    assert bool(writing(FILES[name])) == (name in OPEN_THEMSELVES), f"{name}, lines {writing(FILES[name])}"
