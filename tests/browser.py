"""A real browser for tests of pages: Chromium or Chrome, offline, watched for all that goes wrong."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("google-chrome", "chromium", "chromium-browser")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("needs a browser: install Debian's package chromium, or Google Chrome")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield started
        started.close()


class Tab:
    """A page of the browser, and all that went wrong in it.

    Args:
        context: of the browser.
        server: on this machine, from which the page may load things, such as http://127.0.0.1:6006/.
    """

    def __init__(self, context: BrowserContext, server: str = "file:") -> None:
        self.page: Page = context.new_page()
        self._allowed = ("file:", "data:", "blob:", server)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", lambda request: self.complaints.append(f"not loaded: {request.url}"))

    def _on_console(self, message: Any) -> None:
        # a browser without a graphics card draws WebGL itself, and says how slow that is
        if message.type in ("error", "warning") and "GL Driver Message" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(self._allowed):
            self.complaints.append(f"leaves the machine: {request.url}")

    def open(self, path: Path, query: str = "") -> Page:
        self.page.goto(path.as_uri() + query)
        return self.page

    def shoot(self, file: Path) -> float:
        """Take a picture of the whole page, which must show something, and give its brightness, 0 to 255."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file, full_page=True)
        with Image.open(file) as image:
            colours = image.convert("RGB").getcolors(maxcolors=image.width * image.height)
            assert colours is not None
            assert len(colours) > 16
            return float(ImageStat.Stat(image.convert("L")).median[0])


def rows_of(tab: Tab, table: str) -> list[list[str]]:
    """Give what the cells of a table's body show; `table` is a CSS selector."""
    rows = tab.page.locator(f"{table} tbody tr")
    found: list[list[str]] = rows.evaluate_all("rows => rows.map(row => Array.from(row.cells, cell => cell.innerText))")
    return found
