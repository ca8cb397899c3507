"""Files that PyTorch wrote, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``torch_files.py`` fills; not to be changed."""
    folder = tmp_path_factory.mktemp("torch_files")
    script = Path(__file__).parent / "torch_files.py"
    subprocess.run([sys.executable, "-W", "ignore", str(script), str(folder)], check=True, timeout=300, cwd=ROOT)
    return folder
