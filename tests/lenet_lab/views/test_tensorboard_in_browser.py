"""TensorBoard's own page, in a real browser, on real runs: each tab shows what the runs have written."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from lab_engine.training.loggers.tensorboard import TensorBoard
from tests.browser import Tab, browser  # noqa: F401
from tests.conftest import Result, run_command
from tests.lab_engine.sweeps.conftest import wait_until

pytestmark = pytest.mark.slow
MILLISECONDS = 90_000  # that a chart may take to appear
HARMLESS = ("Multiple instances of Three.js", "is deprecated. Please use app-layout", "/data/environment")
"""Of what TensorBoard 2.21 complains about itself, or what it no longer waits for."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits_run: Result) -> Path:
    """A sweep of two jobs."""
    words = ("data=digits", "data.batch_size=64", "optimizer.lr=0.02,0.05", "trainer.max_epochs=3")
    result = run_command(
        tmp_path_factory.mktemp("runs"), "train", "-m", *words, "callbacks.dashboard.share=1", "hydra.sweep.dir=sweep"
    )
    assert result.status == 0, result.err
    return result.folder.parent / "sweep"


@contextmanager
def tensorboard(runs: Path) -> Iterator[str]:
    """TensorBoard on a free port of this machine, once it has read all runs; its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", "0", "--host", "127.0.0.1"]
    expected = len({file.parent for file in runs.rglob("events*")})
    with subprocess.Popen([*command, "--load_fast=false"], stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(found[0] for line in process.stderr or () if (found := re.search(r"http://\S+:\d+/", line)))
            wait_until(lambda: count_ended(address) == expected, seconds=120)
            yield address
        finally:
            process.kill()


def count_ended(address: str) -> int:
    with urllib.request.urlopen(f"{address}data/plugin/scalars/tags") as answer:  # noqa: S310
        return sum("test/accuracy" in tags for tags in json.load(answer).values())


@contextmanager
def opened(browser: Browser, server: str) -> Iterator[Tab]:  # noqa: F811
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    tab = Tab(context, server)
    tab.page.set_default_timeout(MILLISECONDS)
    tab.page.goto(server)
    yield tab
    context.close()
    assert [complaint for complaint in tab.complaints if not any(words in complaint for words in HARMLESS)] == []


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[str]:
    with tensorboard(runs) as address:
        yield address


@pytest.fixture
def tab(server: str, browser: Browser) -> Iterator[Tab]:  # noqa: F811
    with opened(browser, server) as tab:
        yield tab


ALL_SEEN = """texts => {
    const seen = []
    const look = node => {
        if (node.nodeType === Node.TEXT_NODE) seen.push(node.data.trim())
        if (node.nodeType === Node.ELEMENT_NODE && getComputedStyle(node).display === 'none') return
        if (node.shadowRoot) look(node.shadowRoot)
        node.childNodes.forEach(look)
    }
    look(document.body)
    return texts.every(text => seen.some(each => each.includes(text)))
}"""
"""Whether the page shows all these texts; its parts are in shadow roots, which `page.inner_text` leaves out."""


def choose(tab: Tab, name: str, *texts: str) -> Page:
    """Open a tab and wait until it shows these texts."""
    tab.page.locator(f".plugin-name[data-plugin-id={name}]").click()
    tab.page.wait_for_function(ALL_SEEN, arg=list(texts), timeout=MILLISECONDS)
    return tab.page


def test_curves(tab: Tab) -> None:
    choose(tab, "timeseries", "test", "train", "val", "0/tensorboard", "1/tensorboard")


def test_losses_accuracies_and_classes_share_charts(tab: Tab) -> None:
    titles = ("loss", "accuracy", "val accuracy of each class", "learning rate", "images a second")
    # curves of two runs: ten classes; train and val; one
    choose(tab, "custom_scalars", *titles, "Matches (20)", "Matches (4)", "Matches (2)")


def test_pictures(tab: Tab) -> None:
    page = choose(tab, "images", "test/filters of conv1", "test/confusion", "test/most confident mistakes")
    picture = page.locator("tf-image-loader img").first
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_graph(tab: Tab) -> None:
    choose(tab, "graphs", "LeNet", "input", "output")


def test_precision_and_recall(tab: Tab) -> None:
    choose(tab, "pr_curves", *(f"test precision and recall/{label}" for label in range(4)), "0/tensorboard is at")


def test_hyperparameters_and_results(tab: Tab) -> None:
    choose(
        tab, "hparams", "optimizer.lr", "0.050000", "0.020000", "best/val/accuracy", "test/accuracy", "1/tensorboard"
    )


@pytest.mark.long
def test_a_hundred_runs_can_be_compared(tmp_path: Path, browser: Browser) -> None:  # noqa: F811
    for number in range(100):
        logger = TensorBoard(str(tmp_path), name=f"run-{number:03}", version="")
        logger.log_hyperparams({"optimizer.lr": number / 1000, "model": "LeNet"} | {f"key{n}": n for n in range(25)})
        for step in range(10):
            logger.log_metrics({f"val/accuracy/{label}": step / 10 for label in range(10)}, step)
        logger.log_metrics({"best/val/accuracy": number / 100, "test/accuracy": number / 100}, 10)
        logger.finalize("finished")
    with tensorboard(tmp_path) as address, opened(browser, address) as tab:
        page = choose(tab, "hparams", "run-0", "optimizer.lr", "best/val/accuracy")  # rows are drawn when scrolled to
        rows = page.locator("vaadin-grid").first
        wait_until(lambda: rows.evaluate("grid => (grid.items || []).length") == 100)
