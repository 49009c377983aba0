"""The report of a run, as a browser shows it."""

import base64
import html.parser
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from lab_engine.artifacts.curves import read_curves
from lab_engine.images.image_set import ImageSet
from lab_engine.reports.page import to_html
from lenet_lab.compose import compose
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.models.lenet import LeNet
from lenet_lab.tasks.classification import Classification
from lenet_lab.views.predictions import Predictions
from lenet_lab.views.report_classes import MAX_CLASSES
from tests.browser import DESKTOP, PHONE, Tab, browser, rows_of  # noqa: F401 - a fixture
from tests.conftest import Result

HOSTILE = (
    "<script>alert(1)</script>",
    "]]>\"'`&lt;{{ name }}<!--",
    'ü"><img src=x onerror=alert(1)> 漢字 \u202egnp',
    "a\nb",
)


class Made(ImageDataModule):
    """Images that mean nothing."""

    def __init__(self, classes: Sequence[str], images: int, **loading: Any) -> None:
        super().__init__(**loading)
        labels = np.arange(images) % len(classes)
        pixels = np.random.default_rng(0).integers(0, 256, (images, 3, 32, 32), np.uint8)
        self.images = ImageSet(pixels, labels, tuple(classes))

    def load(self) -> tuple[ImageSet, ImageSet]:
        return self.images, self.images


def page_of(
    folder: Path,
    classes: Sequence[str],
    images: int,
    mistakes: int,
    curve: str = "1,10,2.0,1.5,0.5\n",
    confidence: float = 0.9,
) -> Path:
    """Write the page of a run that never was: the first `mistakes` images are taken for the class that follows."""
    folder.mkdir(parents=True)
    config = compose(folder=str(folder))
    config["augment"] = {"note": {"_target_": " ".join(classes[:4])}}
    data = Made(
        classes,
        images,
        batch_size=4,
        shuffle=True,
        eval_batch_size=4,
        validation=0.2,
        split_seed=0,
        mean=0.5,
        std=0.5,
    )
    data.setup()
    labels = data.test.labels
    predicted = np.where(np.arange(images) < mistakes, (labels + 1) % len(classes), labels)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    (folder / "curves.csv").write_text("epoch,step,train/loss,val/loss,val/accuracy" + "\n" + curve)
    task = Classification(LeNet(3, (32, 32), len(classes)), classes)
    sure = np.full(images, confidence, np.float32)
    task.predictions = Predictions(confusion, np.arange(images), labels, predicted, sure)
    measured = {"loss": 0.5, "accuracy": 1 - mistakes / images, "count": images}
    metrics = {f"{stage}/{name}": value for stage in ("val", "test") for name, value in measured.items()}
    file = folder / "report.html"
    file.write_text(
        to_html(config, data, task, {**metrics, "train/seconds": 1.0, "train/steps": 10}, ""),
        encoding="utf-8",
        errors="replace",
    )
    return file


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:  # noqa: F811 - that fixture
    context = browser.new_context(viewport=DESKTOP, offline=True)
    yield Tab(context)
    context.close()


def fits(tab: Tab) -> bool:
    return bool(tab.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def test_the_page_says_what_the_files_of_the_run_say(tab: Tab, digits_run: Result) -> None:
    folder, metrics = digits_run.folder, digits_run.metrics
    assert f"report     {folder.name}/report.html\n" in digits_run.out
    assert (folder / "report.html").stat().st_size < 200_000
    page = tab.open(folder / "report.html")
    assert page.title() == f"{folder.name} · run · {100 * metrics['test/accuracy']:.2f} %"
    text = page.locator("main").inner_text()
    for said in (
        f"{100 * metrics['test/accuracy']:.2f} %",
        f"{100 * metrics['val/accuracy']:.2f} %",
        f"{metrics['train/steps']:,} steps",
        "python -m lenet_lab.train experiment=digits",
        "61,706",
        "1,295 train, 143 validation, 359 test images",
    ):
        assert said in text
    environment = json.loads((folder / "environment.json").read_text())
    for said in (*environment["versions"].values(), environment["cpu"], environment["git"]["commit"] or "unknown"):
        assert said in text

    matrix = np.array([[int(cell) for cell in row[1:]] for row in rows_of(tab, ".matrix")])
    assert matrix.shape == (10, 10)
    assert matrix.sum() == metrics["test/count"]
    assert matrix.trace() / matrix.sum() == pytest.approx(metrics["test/accuracy"])
    for number, (name, images, accuracy, taken_for) in enumerate(rows_of(tab, ".classes")):
        assert (name, int(images)) == (str(number), matrix[number].sum())
        assert accuracy == f"{100 * metrics[f'test/accuracy/{name}']:.2f} %"
        others = matrix[number] * (np.arange(10) != number)
        assert taken_for == (f"{others.argmax()} ({others.max()})" if others.any() else "–")

    charts = page.locator("svg.chart")
    labels = [charts.nth(number).get_attribute("aria-label") or "" for number in range(2)]
    curve = read_curves(folder / "curves.csv")
    assert f"val/loss from {curve[0]['val/loss']:.4g} to {curve[-1]['val/loss']:.4g}" in labels[0]
    assert f"val/accuracy from {curve[0]['val/accuracy']:.2%} to {curve[-1]['val/accuracy']:.2%}" in labels[1]
    best = max(reversed(curve), key=lambda row: row["val/accuracy"])  # the last of the best
    assert f"epoch {best['epoch']:g} of 30" in text
    assert page.locator("path.chosen").count() == 5

    wrong = metrics["test/count"] - matrix.trace()
    alt = page.locator("img.samples").get_attribute("alt") or ""
    assert alt.count(", is ") == min(wrong, 12)
    assert page.locator("img.samples").evaluate("image => image.naturalWidth") > 300
    assert "max_lr" not in text  # folded
    page.locator("summary").click()
    assert "max_lr: 0.05" in page.locator("details").inner_text()
    assert tab.complaints == []


def test_it_is_readable_by_day_at_night_and_on_a_phone(tab: Tab, digits_run: Result, tmp_path: Path) -> None:
    for size, name in ((DESKTOP, "desktop"), (PHONE, "phone")):
        tab.page.set_viewport_size(size)
        tab.page.emulate_media(color_scheme="light")
        page = tab.open(digits_run.folder / "report.html")
        assert tab.shoot(tmp_path / f"{name}_light.png") > 200
        tab.page.emulate_media(color_scheme="dark")
        assert tab.shoot(tmp_path / f"{name}_dark.png") < 55
        page.locator("summary").click()
        assert fits(tab)
        boxes = page.locator(".scroll")
        for number in range(boxes.count()):  # ten classes need no scrolling
            assert boxes.nth(number).evaluate("box => box.scrollWidth <= box.clientWidth")
    assert tab.complaints == []


def test_it_is_one_page_of_valid_html_without_script_and_addresses(digits_run: Result) -> None:
    text = (digits_run.folder / "report.html").read_text()
    assert not re.search(r"<script|javascript:|\son\w+=|https?://|@import|url\(", text)

    class Reader(html.parser.HTMLParser):
        VOID = ("meta", "img", "path", "circle")
        OPTIONAL = ("td", "th")

        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.headings: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            assert len({name for name, _ in attrs}) == len(attrs)
            if self.open and self.open[-1] in self.OPTIONAL and tag in self.OPTIONAL:
                self.open.pop()
            if tag not in self.VOID:
                self.open.append(tag)
            if tag in ("h1", "h2"):
                self.headings.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if self.open[-1] in self.OPTIONAL and tag == "tr":
                self.open.pop()
            if tag not in self.VOID:
                assert self.open.pop() == tag

    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.headings == ["h1", *["h2"] * 6]


def test_no_name_becomes_part_of_the_page(tab: Tab, tmp_path: Path) -> None:
    file = page_of(tmp_path / "a<b>&amp; {{ 1 }}", HOSTILE, images=40, mistakes=10)
    page = tab.open(file)
    assert page.title() == "a<b>&amp; {{ 1 }} · run · 75.00 %"
    shown = page.locator(".classes tbody th")
    assert [shown.nth(number).text_content() for number in range(4)] == list(HOSTILE)
    assert page.locator("script, img:not(.samples), main b").count() == 0
    assert all(" ".join(name.split()) in (page.locator("img.samples").get_attribute("alt") or "") for name in HOSTILE)
    assert "<script>alert(1)</script> ]]>" in (page.locator("details pre").text_content() or "").replace("\n", " ")
    assert fits(tab)
    tab.page.set_viewport_size(PHONE)
    assert fits(tab)
    assert tab.complaints == []


def test_a_hundred_classes_scroll_in_their_box(tab: Tab, tmp_path: Path) -> None:
    classes = [f"a class of a rather long name {number}" for number in range(100)]
    file = page_of(tmp_path / "run", classes, images=5000, mistakes=3000)
    assert file.stat().st_size < 500_000
    tab.page.set_viewport_size(PHONE)
    page = tab.open(file)
    assert fits(tab)
    matrix = page.locator(".scroll:has(.matrix)")
    assert matrix.evaluate("box => box.scrollWidth > box.clientWidth && box.clientHeight < innerHeight")
    assert len(rows_of(tab, ".matrix")) == 100
    tab.shoot(tmp_path / "hundred.png")
    assert tab.complaints == []


def test_more_classes_have_a_list_of_mistakes_instead(tab: Tab, tmp_path: Path) -> None:
    classes = [f"{number}" for number in range(MAX_CLASSES + 1)]
    page = tab.open(page_of(tmp_path / "run", classes, images=400, mistakes=200))
    assert page.locator(".matrix").count() == 0
    assert rows_of(tab, "section:has(#confusion)")[0] == ["0", "1", "2"]
    assert fits(tab)


@pytest.mark.parametrize(
    ("curve", "charts", "said"),
    [
        ("", 0, "No validation ran"),
        ("1,10,,0.5,0.5\n", 2, "One point per validation (1)."),
        ("1,10,nan,nan,0.1\n2,20,nan,nan,0.1\n", 1, "4 of the values are not finite"),
        ("1,10,1,1,1\n2,20,inf,inf,1\n3,30,1,1,1\n", 2, "2 of the values are not finite"),
        ("1,10,1e308,-1e308,0\n2,20,1e-320,0,0\n", 2, "per validation (2)"),
        ("".join(f"{n},{n},{n % 7},{n % 5},{n % 2}\n" for n in range(1, 5001)), 2, "per validation (5000)"),
    ],
    ids=["none", "one", "nan", "gap", "extreme", "many"],
)
def test_any_curve_is_drawn(tab: Tab, tmp_path: Path, curve: str, charts: int, said: str) -> None:
    file = page_of(tmp_path / "run", ["a", "b"], images=20, mistakes=0, curve=curve, confidence=float("nan"))
    page = tab.open(file)
    assert page.locator("svg.chart").count() == charts
    assert said in page.locator("main").inner_text()
    drawn = " ".join(page.locator("svg.chart").evaluate_all("charts => charts.map(chart => chart.outerHTML)"))
    assert not re.search("nan|inf", drawn)
    assert "No mistakes; 20 correct answers" in page.locator("main").inner_text()
    tab.shoot(tmp_path / "page.png")
    assert file.stat().st_size < 200_000
    assert tab.complaints == []


def test_the_most_confident_mistakes_come_first(digits_run: Result) -> None:
    text = (digits_run.folder / "report.html").read_text()
    alt = re.search(r'alt="[^"]*gives each: ([^"]*)\."', text)
    assert alt is not None
    captions = alt[1].split("; ")
    confidences = [int(caption.split("%")[0]) for caption in captions if ", is " in caption]
    assert confidences == sorted(confidences, reverse=True)
    right = [caption.split("% ")[1] for caption in captions if ", is " not in caption]
    assert right[:10] == [str(digit) for digit in range(10)]  # one of each class
    assert len(captions) == 20
    data = re.search(r"data:image/png;base64,([^\"]+)", text)
    assert data is not None
    assert Image.open(io.BytesIO(base64.b64decode(data[1]))).format == "PNG"
