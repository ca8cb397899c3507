"""Draws the picture of the data's page that is in docs/: ``make pictures``, after ``make demo``.

python -m tests.data_server.commands.browse.pictures --config C [options of browse]
"""

from __future__ import annotations

import io
import re
import subprocess
import sys

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser import chromium
from tests.cluster import ROOT

WIDTH, HEIGHT = 1240, 800
QUALITY = 82


def main(options: list[str]) -> None:
    command = [sys.executable, "-m", "data_server", "browse", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            url = next(found[1] for line in server.stderr or () if (found := re.search(r"browsing at (\S+)", line)))
            page.goto(url)
            page.wait_for_function(
                "() => [...document.querySelectorAll('.tile img')].slice(0, 12).every((one) => one.src)"
            )
            page.evaluate("document.activeElement.blur()")
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shot.save(ROOT / "docs" / "browse.jpg", quality=QUALITY, subsampling=0, optimize=True)
        finally:
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
