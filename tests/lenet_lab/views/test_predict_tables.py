"""What a person and a spreadsheet see of predictions."""

import csv
import io
from collections import Counter

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from lenet_lab.views.predict_images import Prediction
from lenet_lab.views.predict_tables import PredictionsFile, RankTable, count_table, picture, unread_table

CLASSES = ["airplane", "=HYPERLINK(1)", "ship"]
PIXELS = np.zeros((3, 8, 8), np.uint8)


def read(name: str) -> Prediction:
    return Prediction(name, ((1, 0.75), (0, 0.2), (2, 0.05)), PIXELS)


def printed(what: RenderableType, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(what)
    return stream.getvalue().splitlines()


def test_no_cell_is_a_formula_and_every_row_has_the_same_columns() -> None:
    stream = io.StringIO()
    file = PredictionsFile(stream, CLASSES, top_k=9)
    file.add(read("=1+1.png"))
    file.add(Prediction("-x.png", problem="@ cut,\nshort"))
    rows = list(csv.reader(io.StringIO(stream.getvalue())))
    pairs = ["class_1", "probability_1", "class_2", "probability_2", "class_3", "probability_3"]
    assert rows == [
        ["file", *pairs, "error"],
        ["'=1+1.png", "'=HYPERLINK(1)", "0.75", "airplane", "0.2", "ship", "0.05", ""],
        ["'-x.png", *[""] * 6, r"'@ cut,\nshort"],
    ]


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_a_table_keeps_to_the_terminal_and_loses_nothing(width: int) -> None:
    lines = printed(RankTable([read(f"{'folder/' * 6}日本.png")], CLASSES), width)
    assert max(map(cell_len, lines)) <= width
    words = ("airplane  20.00%", "=HYPERLINK(1)  75.00%", "ship  5.00%")
    for word in words if width > 30 else " ".join(words).split():
        assert word in "\n".join(lines)


def test_markup_in_names_is_only_text() -> None:
    assert "[red]x[/red].png" in "\n".join(printed(RankTable([read("[red]x[/red].png")], CLASSES), 100))
    assert "[/]" in "\n".join(printed(unread_table([Prediction("[/]", problem="[b]")]), 100))


def test_long_lists_end_with_what_is_left_out() -> None:
    names = [str(number) for number in range(50)]
    assert "… and 30 more classes" in printed(count_table(Counter(range(50)), names), 80)[-1]
    lines = printed(unread_table([Prediction(name, problem="empty") for name in names]), 80)
    assert "… and 30 more" in lines[-1]
    assert "predictions.csv has all" in lines[-1]


def test_the_picture_holds_any_name() -> None:
    assert picture([read("caf\udce9\n日本.png")], CLASSES).width > 96
