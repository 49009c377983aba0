"""Train the quick start and take a picture of its report: how docs/images/report.png is made.

python scripts/report_picture.py docs/images/report.png
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH = 1000  # pixels
BROWSERS = ("google-chrome", "chromium", "chromium-browser")


def shoot(page_file: Path) -> Image.Image:
    """Give what a window shows of a page, down to the end of the confusion matrix."""
    browser_file = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_file, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 800})
        page.goto(page_file.as_uri())
        bottom = page.locator("section:has(.matrix)").evaluate("box => box.getBoundingClientRect().bottom")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": bottom + 16}
        picture = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True)))
        browser.close()
    return picture


def main() -> None:
    """Read the command line, run, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="the .png file to write")
    picture = parser.parse_args().picture
    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", "lenet_lab.train", "experiment=digits", "hydra.run.dir=digits")
        subprocess.run([sys.executable, *words], cwd=folder, check=True)
        shot = shoot(Path(folder, "digits", "report.html"))
    picture.parent.mkdir(parents=True, exist_ok=True)
    shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(picture, optimize=True)  # a third of the bytes


if __name__ == "__main__":
    main()
