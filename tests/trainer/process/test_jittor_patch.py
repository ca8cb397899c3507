"""The private copy of Jittor: what is changed in it, when it is refused, and that nobody else's Jittor is touched."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.process import jittor_patch
from trainer.process.installation import jittor_sources
from trainer.process.jittor_patch.changes import CHANGES, CUTT, LEFT_OUT

ROOT = Path(__file__).resolve().parents[3]
INSTALLED = jittor_sources()
LIBRARIES = "CUDA 13.0, cuDNN 9.13"


def digest(*folders: Path) -> str:
    whole = hashlib.blake2b()
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:  # which Python writes where Jittor is imported
            whole.update(f"{path} {path.stat().st_mtime_ns}".encode() + path.read_bytes())
    return whole.hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and a sys.path that is put back. Returns the folder of the copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path / "cache/unidetector/jittor"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A Jittor of the files that are changed or left out."""
    folder = tmp_path / "site/jittor"
    for name in {"jittor/__init__.py", *LEFT_OUT, *(change.file for change in CHANGES)}:
        if not name.startswith(CUTT):
            (folder.parent / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(INSTALLED.parent / name, folder.parent / name)
    return folder


def use(installed: Path) -> tuple[Path, list[str]]:
    """The copy's folder, and what was said."""
    said: list[str] = []
    name = jittor_patch.use(installed, LIBRARIES, said.append)
    assert sys.path[0].endswith(name)
    return Path(sys.path[0]), said


def test_the_copy_is_the_installed_jittor_but_for_the_changes_and_that_one_is_not_touched() -> None:
    before = digest(INSTALLED, INSTALLED.with_name("jittor_utils"))
    jittor_patch.check(INSTALLED)
    copy, said = use(INSTALLED)
    assert digest(INSTALLED, INSTALLED.with_name("jittor_utils")) == before
    assert said == [
        f"Jittor 1.3.11.0 is patched for {LIBRARIES} in a copy of its own, {copy}; what is installed stays as it is."
    ]
    differs = set()
    for package in jittor_patch.PACKAGES:
        for path in INSTALLED.with_name(package).rglob("*"):
            name = path.relative_to(INSTALLED.parent)
            if path.is_file() and "__pycache__" not in path.parts:
                same = (copy / name).is_file() and (copy / name).read_bytes() == path.read_bytes()
                differs |= set() if same else {name.as_posix()}
    assert differs == {*LEFT_OUT, *(change.file for change in CHANGES if not change.file.startswith(CUTT))}
    assert not any((copy / name).exists() for name in LEFT_OUT)
    for file, old, new in CHANGES:
        text = (copy / file).read_text()
        assert new in text and (old in new or old not in text)
    clocks = {path.name for path in copy.rglob("*.c*") if re.search(rb"prop\.\w*lockRate", path.read_bytes())}
    assert clocks == {"cutt_bench.cpp"}  # which Jittor leaves out


def test_python_finds_the_copy_in_place_of_what_is_installed() -> None:
    copy, _ = use(INSTALLED)
    code = f"""
        import importlib.util, sys
        from pathlib import Path
        from trainer.process import jittor_patch
        jittor_patch.use(Path({str(INSTALLED)!r}), "", print)
        print(*(importlib.util.find_spec(name).origin for name in ("jittor", "jittor_utils")))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"{copy}/jittor/__init__.py", f"{copy}/jittor_utils/__init__.py"]


def test_a_start_with_newer_libraries_imports_the_copy_with_a_cache_of_its_own(cache: Path) -> None:
    code = """
        import os, sys
        from importlib.machinery import PathFinder
        from trainer.process import gpu
        class Witness:
            def find_spec(name, *_):
                if name == "jittor_utils":
                    print(PathFinder.find_spec(name).origin, os.environ["cache_name"])
                    sys.exit()
        sys.meta_path.insert(0, Witness)
        gpu.find = lambda: gpu.Gpu((gpu.Card("a card", (9, 0), 1),), "580.1", (13, 0), (13, 0), (9, 13))
        import trainer.device
    """
    environment = {name: value for name, value in os.environ.items() if name != "cache_name"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    (copy,) = (path for path in cache.iterdir() if path.is_dir())
    assert done.stdout.split() == [f"{copy}/jittor_utils/__init__.py", copy.name]
    assert "is patched for CUDA 13.0, cuDNN 9.13 in a copy of its own" in done.stderr


HELPER = "jittor/extern/cuda/inc/helper_cuda.h"
SPOILT = {
    "another version": (
        "jittor/__init__.py",
        lambda text: text.replace("1.3.11.0", "1.3.12.0"),
        "Jittor 1.3.12.0 in .*/site/jittor: the changes to a copy of it are for 1.3.11.0; pip install .*==1.3.11.0",
    ),
    "no version": ("jittor/__init__.py", lambda _: "", "Jittor of an unknown version in"),
    "a text that is not there": (
        HELPER,
        lambda text: text.replace("deviceProp.clockRate", "1"),
        f"{HELPER} of Jittor 1.3.11.0 has 0 times 'sm_per_multiproc .*', expected once: it was changed; pip install",
    ),
    "a text that is there twice": (
        "jittor/compiler.py",
        lambda text: text + "    max_arch = 90\n",
        "jittor/compiler.py of Jittor 1.3.11.0 has 2 times 'max_arch = 90', expected once",
    ),
    "a file that is not there": (HELPER, None, f"{HELPER} of Jittor 1.3.11.0 has 0 times"),
    "a file to leave out that is not there": (LEFT_OUT[0], None, f"Jittor 1.3.11.0 without {LEFT_OUT[0]}: it was"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_another_jittor_is_refused_and_nothing_is_copied(installed: Path, cache: Path, what: str) -> None:
    jittor_patch.check(installed)
    name, spoil, says = SPOILT[what]
    path = installed.parent / name
    if spoil is None:
        path.unlink()
    else:
        path.write_text(spoil(path.read_text()))
    for refused in (lambda: jittor_patch.check(installed), lambda: use(installed)):
        with pytest.raises(UserError, match=says) as caught:
            refused()
        assert "\n" not in str(caught.value)
    assert not cache.exists()


def test_without_cutt_there_is_no_copy(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jittor_offline" else find(name))
    with pytest.raises(UserError, match=r"cutt-1.2.zip, without which .* not installed; pip install .*jittor-offline"):
        use(installed)


def test_a_whole_copy_is_kept_and_a_damaged_one_is_made_anew(installed: Path) -> None:
    copy, _ = use(installed)
    one, inode = copy / "jittor/compiler.py", copy.stat().st_ino
    whole = one.read_bytes()
    assert use(installed) == (copy, []) and copy.stat().st_ino == inode
    for damage in (
        lambda: one.write_bytes(whole[:-1]),
        lambda: one.write_bytes(b"x" + whole[1:]),
        one.unlink,
        lambda: shutil.rmtree(copy / "jittor"),
    ):
        damage()
        folder, said = use(installed)
        assert folder == copy and one.read_bytes() == whole and len(said) == 1


def test_what_a_killed_process_began_becomes_no_part_of_a_copy(installed: Path) -> None:
    copy, _ = use(installed)
    copy.rename(copy.with_name(f"{copy.name}.making"))
    (copy.with_name(f"{copy.name}.making") / "half").touch()
    folder, said = use(installed)
    assert folder == copy and said and not (copy / "half").exists()


def test_what_changes_in_the_installed_jittor_becomes_another_copy(installed: Path) -> None:
    copy, _ = use(installed)
    one = installed / "__init__.py"
    one.write_bytes(one.read_bytes()[:-1] + b"#")
    other, said = use(installed)
    assert other != copy and said and (other / "jittor/__init__.py").read_bytes() == one.read_bytes()


def test_processes_that_start_together_make_one_copy(cache: Path) -> None:
    code = f"""
        from pathlib import Path
        from trainer.process import jittor_patch
        jittor_patch.use(Path({str(INSTALLED)!r}), "", print)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len([line for line in said if line]) == 1
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_copy_that_cannot_be_written_is_one_line(installed: Path, homeless: str) -> None:
    with pytest.raises(UserError, match=r"set HOME or XDG_CACHE|cannot write /proc/.*; free some space, or set XDG"):
        use(installed)
    assert homeless


NVCC = shutil.which("nvcc")
FOLDERS = ("jittor/extern/cuda/inc", "jittor/src", f"{CUTT}/src")
TEXTS = {  # by language
    "c++": """
#include <cuda_runtime.h>
#include <helper_string.h>
#include <helper_cuda.h>
#include <cuttplan.cpp>
#include <cuttGpuModel.cpp>
""",
    "cu": """
#define IS_CUDA
#include <misc/cuda_limits.h>
__global__ void fill(float* x) { *x = numeric_max<float>(); }
""",
}


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="no nvcc here: what is changed is not compiled")
@pytest.mark.parametrize("language", TEXTS)
def test_what_is_changed_compiles_with_the_headers_of_this_cuda(tmp_path: Path, language: str) -> None:
    copy, _ = use(INSTALLED)
    (tmp_path / "text").write_text(TEXTS[language])
    flags = ["-std=c++17", "-w", *(f"-I{copy / folder}" for folder in FOLDERS)]
    flags += ["-Xcompiler", "-fsyntax-only"] if language == "c++" else []
    command = ["nvcc", "-c", "-x", language, *flags, "text"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
