"""Train the quick start and take pictures of its report and its dashboard, for docs/images.

python scripts/page_pictures.py docs/images
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH = 1000  # pixels
BROWSERS = ("google-chrome", "chromium", "chromium-browser")


def report(page: Page, run: Path) -> bytes:
    """Return a PNG of the report, from its top to the end of the confusion matrix."""
    page.goto((run / "report.html").as_uri())
    bottom = page.locator("section:has(.matrix)").evaluate("box => box.getBoundingClientRect().bottom")
    return page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom + 16}, full_page=True)


def dashboard(page: Page, run: Path) -> bytes:
    """Return a PNG of TensorBoard's custom scalars."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", run.name, "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen([*command, "--load_fast=false"], cwd=run.parent, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = next(found[0] for line in server.stderr or () if (found := re.search(r"http://\S+:\d+/", line)))
            page.goto(address)
            page.locator(".plugin-name[data-plugin-id=custom_scalars]").click()
            page.wait_for_timeout(5000)  # milliseconds, until the charts have drawn themselves
            return page.screenshot()
        finally:
            server.kill()


def main() -> None:
    """Read the command line, run, write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for report.png and dashboard.png")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    browser_file = next(filter(None, map(shutil.which, BROWSERS)), None)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        words = ("-m", "lenet_lab.train", "experiment=digits", "hydra.run.dir=digits")
        subprocess.run([sys.executable, *words], cwd=place, check=True)
        browser = playwright.chromium.launch(executable_path=browser_file, args=["--no-sandbox"])
        for shoot, size in ((report, (WIDTH, 800)), (dashboard, (1500, 680))):
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            picture = Image.open(io.BytesIO(shoot(page, Path(place, "digits"))))
            palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)  # a third of the bytes
            palette.save(folder / f"{shoot.__name__}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
