"""The sections of a classification in the report of a run: classes, confusion, predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment as Templates
from jinja2 import StrictUndefined
from markupsafe import Markup

from lab_engine.images.image_set import ImageSet
from lab_engine.training.interface import Section
from lenet_lab.views.predictions import Predictions
from lenet_lab.views.report_samples import draw_samples

HTML, STYLE = Path(__file__).with_name("report_classes.html"), Path(__file__).with_name("report_classes.css")
TEMPLATE = Templates(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    HTML.read_text(encoding="utf-8")
)
"""Every value in it is escaped."""
MAX_CLASSES = 128  # of a confusion matrix; with more, confused pairs are listed instead
MAX_PAIRS = 100
MIN_SHADE = 0.12  # of a cell that is not empty
STRONG = {True: 0.87, False: 0.78}  # shades of correct answers and mistakes above which text is white, not black

Confusion = npt.NDArray[np.int64]
"""(true class, predicted class): images."""


@dataclass(frozen=True)
class ClassRow:
    """A class: name, number of images, accuracy from 0 to 1 (None without images), most frequent wrong answer."""

    name: str
    images: int
    accuracy: float | None
    mistaken_for: str


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix: number of images, strength of its colour (0 to 1), CSS classes, text on hovering."""

    images: int
    shade: float
    classes: str
    title: str


def class_section(images: ImageSet, predictions: Predictions) -> Section:
    """Return the section for these test images and their predictions."""
    classes, confusion = images.classes, predictions.confusion
    count = int(confusion.sum())
    html = TEMPLATE.render(
        count=count,
        rows=_class_rows(confusion, classes),
        classes=classes,
        matrix=_matrix(confusion, classes) if len(classes) <= MAX_CLASSES else [],
        pairs=_pairs(confusion, classes) if len(classes) > MAX_CLASSES else [],
        samples=draw_samples(images, predictions),
        share=len(predictions.rows) if len(predictions.rows) < count else 0,
    )
    return Section(Markup(html), STYLE.read_text(encoding="utf-8"))  # noqa: S704 - escaped, and ours


def _class_rows(confusion: Confusion, classes: Sequence[str]) -> list[ClassRow]:
    rows = []
    for number, name in enumerate(classes):
        images, right = int(confusion[number].sum()), int(confusion[number, number])
        others = confusion[number].copy()
        others[number] = 0
        most = int(others.argmax())
        taken = f"{classes[most]} ({others[most]:,})" if others[most] else "–"
        rows.append(ClassRow(name, images, right / images if images else None, taken))
    return rows


def _matrix(confusion: Confusion, classes: Sequence[str]) -> list[list[Cell]]:
    """Shade by the share of a class's images; mistakes by its square root, because most shares are small."""
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)

    def cell(true: int, predicted: int) -> Cell:
        images, part = int(confusion[true, predicted]), float(share[true, predicted])
        right = true == predicted
        title = (
            f"true {classes[true]}, predicted {classes[predicted]}: {images:,} ({100 * part:.1f} %)" if images else ""
        )
        shade = max(part if right else math.sqrt(part), MIN_SHADE)
        names = [name for name, holds in (("right", right), ("strong", shade > STRONG[right])) if holds]
        return Cell(images, round(shade, 2), " ".join(names), title)

    numbers = range(len(classes))
    return [[cell(true, predicted) for predicted in numbers] for true in numbers]


def _pairs(confusion: Confusion, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return true class, predicted class and number of images of the most frequent mistakes."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MAX_PAIRS]
    places = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    return [
        (classes[true], classes[taken], int(mistakes[true, taken])) for true, taken in places if mistakes[true, taken]
    ]
