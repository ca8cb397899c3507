"""Draws the pictures of the page that are in docs/: ``make pictures``, after ``make demo``.

python -m tests.trainer.tasks.serve.pictures --config C --checkpoint F ... [options of serve]
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser import chromium
from tests.trainer.runs import ROOT
from tests.trainer.tasks.serve.served import Served

SHOTS = {"serve.jpg": (1240, 1010, 2), "serve_phone.jpg": (390, 844, 1)}  # width, height, pictures
QUALITY = 82
THRESHOLD = 0.55


def main(options: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="pictures") as folder, sync_playwright() as driver:
        server = Served(Path(folder), *options)
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            for name, (width, height, sides) in SHOTS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(server.url)
                page.wait_for_selector("#vocabulary-0 option", state="attached")
                page.set_input_files("#files", ROOT / "data/demo/val_never_seen/000016.jpg")
                if sides > 1:
                    page.select_option("#vocabulary-1", "val_base")
                for word in ("blue circle", "white hexagon", "yellow square", "orange arrow"):
                    page.fill("#name", word)
                    page.press("#name", "Enter")
                page.wait_for_function(
                    f"() => document.querySelectorAll('figcaption').length === {sides} && "
                    "[...document.querySelectorAll('figcaption')].every((one) => one.textContent) && "
                    "!document.querySelector('.working') && !document.getElementById('status').textContent"
                )
                page.fill("#threshold", str(THRESHOLD))
                page.evaluate("document.activeElement.blur()")
                page.evaluate(f"scrollTo(0, {0 if sides > 1 else 420})")
                shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                shot.save(ROOT / "docs" / name, quality=QUALITY, subsampling=0, optimize=True)
        finally:
            browser.close()
            server.end()


if __name__ == "__main__":
    main(sys.argv[1:])
