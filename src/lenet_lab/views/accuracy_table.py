"""Overall and per-class accuracy on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lab_engine.base.wording import counted
from lenet_lab.metrics import MEASURED


def accuracy_table(metrics: Mapping[str, Any], stage: str, classes: Sequence[str]) -> Table:
    """Return a table with a row for each class, and what else was measured below it.

    Args:
        metrics: as in `metrics.json`.
        stage: "val" or "test".
        classes: names, in the order to show.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    table.add_column(f"{stage} accuracy", justify="right")
    table.add_column("")
    for name in classes:
        accuracy = metrics.get(f"{stage}/accuracy/{name}")
        shown = "no images" if accuracy is None else f"{accuracy:.2%}"
        table.add_row(Text(name), shown, Text("━" * round(20 * (accuracy or 0)), style="cyan"))
    table.add_section()
    overall = metrics[f"{stage}/accuracy"]
    note = f"of {counted(metrics[f'{stage}/count'], 'image')}, loss {metrics[f'{stage}/loss']:.4f}"
    table.add_row(Text("overall", style="bold"), Text(f"{overall:.2%}", style="bold"), note)
    balanced, f1 = metrics[f"{stage}/balanced_accuracy"], metrics[f"{stage}/macro_f1"]
    table.add_row(
        "balanced",
        f"{balanced:.2%}",
        f"macro F1 {f1:.2%}, calibration error {metrics[f'{stage}/calibration_error']:.2%}",
    )
    for name, value in metrics.items():
        stage_of, _, short = name.partition("/")
        if stage_of == stage and short.partition("/")[0] not in MEASURED:
            table.add_row(Text(short), f"{value:.4g}", "")
    return table
