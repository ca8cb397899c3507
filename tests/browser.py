"""Pages in a headless Chromium: what it complains about, and what it shows."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cluster import PATIENCE

START_SECONDS = 60


def chromium() -> str:
    """Where Chromium is; skips the test where none is installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here (Debian's package: chromium): the page was not opened")
    return found


def open_page(page: Path, screenshot: Path, width: int = 1300, height: int = 2400) -> tuple[list[str], np.ndarray]:
    """Opens the file `page` and waits until it is loaded; skips the test where no Chromium is installed.

    Returns:
        what the page wrote to the console, errors of loading included; the picture u8 (height,width,3), which is also
        in the PNG `screenshot`.
    """
    with tempfile.TemporaryDirectory(prefix="chromium") as profile:
        done = subprocess.run(
            [
                *(chromium(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                *("--hide-scrollbars", "--enable-logging=stderr", f"--window-size={width},{height}"),
                *(f"--screenshot={screenshot}", page.absolute().as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=START_SECONDS * PATIENCE,
        )
    assert screenshot.is_file(), done.stderr
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line], np.asarray(Image.open(screenshot))
