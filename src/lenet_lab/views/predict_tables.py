"""Predictions for other programs, `predictions.csv`, and for a person: tables and a picture."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TextIO

from PIL import Image
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from lab_engine.base.pictures import grid
from lab_engine.base.spreadsheet import escape_formula
from lab_engine.prediction.find import shown
from lab_engine.prediction.overlay import overlay
from lenet_lab.views.predict_explanation import Explainer
from lenet_lab.views.predict_images import Prediction

MAX_ROWS = 20  # of the tables of classes, and of files that could not be read
MIN_PATH_WIDTH = 16  # characters; if columns of classes leave less, the classes stand below each other


class PredictionsFile:
    """Writes `predictions.csv`, one row per file: path, class and probability by rank, why it could not be read.

    No cell is a formula to a spreadsheet: text that could be one begins with an apostrophe.

    Args:
        stream: to write to.
        classes: names, in the order of the logits.
        top_k: classes in each row.
    """

    def __init__(self, stream: TextIO, classes: Sequence[str], top_k: int) -> None:
        self._writer = csv.writer(stream)
        self._classes = [escape_formula(shown(name)) for name in classes]
        self._pairs = min(top_k, len(classes))
        names = [name for rank in range(1, self._pairs + 1) for name in (f"class_{rank}", f"probability_{rank}")]
        self._writer.writerow(["file", *names, "error"])

    def add(self, prediction: Prediction) -> None:
        """Write the row of a prediction; probabilities have six digits."""
        pairs = [[self._classes[number], f"{probability:.6g}"] for number, probability in prediction.ranked]
        cells = [text for pair in pairs or [["", ""]] * self._pairs for text in pair]
        file, problem = (escape_formula(shown(text)) for text in (prediction.file, prediction.problem))
        self._writer.writerow([file, *cells, problem])


class RankTable:
    """A table of predictions, one row per image; its classes stand below each other where the terminal is narrow."""

    def __init__(self, predictions: Sequence[Prediction], classes: Sequence[str]) -> None:
        self._rows = [
            (shown(each.file), [f"{shown(classes[number])}  {share:.2%}" for number, share in each.ranked])
            for each in predictions
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print for a console of this width."""
        count = max((len(ranks) for _, ranks in self._rows), default=0)
        widths = [max(cell_len(ranks[number]) for _, ranks in self._rows) + 2 for number in range(count)]
        room = options.max_width - MIN_PATH_WIDTH
        beside = sum(widths) <= room
        table = _table("file", *(_ordinals(count) if beside else ["classes"]))
        for column in table.columns[1:]:
            column.no_wrap = max(widths, default=0) <= room  # only the path is wrapped
        for file, ranks in self._rows:
            cells = [Text(rank) for rank in ranks] if beside else [Text("\n".join(ranks))]
            if cells:
                cells[0].stylize("bold", 0, len(ranks[0]))
            table.add_row(Text(file), *cells)
        yield table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _ordinals(count: int) -> list[str]:
    return [{1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th") for number in range(1, count + 1)]


def count_table(counts: Mapping[int, int], classes: Sequence[str]) -> Table:
    """Return a table of the images predicted as each class, the largest count first; `counts` is by class number."""
    total, most = sum(counts.values()), Counter(counts).most_common()
    table = _table("class", "images", "share", "")
    table.columns[1].justify = table.columns[2].justify = "right"
    for number, count in most[:MAX_ROWS]:
        bar = Text("━" * round(20 * count / total), style="cyan")
        table.add_row(Text(shown(classes[number])), f"{count:,}", f"{count / total:.2%}", bar)
    if len(most) > MAX_ROWS:
        table.add_row(Text(f"… and {len(most) - MAX_ROWS:,} more classes", style="italic"))
    return table


def unread_table(unread: Sequence[Prediction]) -> Table:
    """Return a table of the files that could not be read, and why."""
    table = _table("not read", "reason")
    for each in unread[:MAX_ROWS]:
        table.add_row(Text(shown(each.file), style="yellow"), Text(shown(each.problem)))
    if len(unread) > MAX_ROWS:
        table.add_row(Text(f"… and {len(unread) - MAX_ROWS:,} more", style="italic"), Text("predictions.csv has all"))
    return table


def picture(
    predictions: Sequence[Prediction], classes: Sequence[str], explainer: "Explainer | None" = None
) -> Image.Image:
    """Draw the images that were read, each above its file name, its class and the probability of the class.

    With an `explainer`, the heat map for the class stands beside each image, above class and probability.
    """
    images = [each.pixels for each in predictions if each.pixels is not None]
    captions = [_caption(each, classes) for each in predictions]
    if explainer is None:
        return grid(images, captions)
    heat = (explainer(each.pixels[None], [each.ranked[0][0]])[0] for each in predictions if each.pixels is not None)
    pairs = [part for image, map_ in zip(images, heat, strict=True) for part in (image, overlay(image, map_))]
    return grid(pairs, [text for each in captions for text in each.split("\n", 1)])


def _caption(prediction: Prediction, classes: Sequence[str]) -> str:
    number, probability = prediction.ranked[0]
    name = shown(prediction.file).rsplit("/", 1)[-1]
    return f"{name}\n{shown(classes[number])}\n{probability:.1%}"
