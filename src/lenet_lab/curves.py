"""`curves.csv`: what each validation of a run measured."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = ("epoch", "step", "train/loss", "val/loss", "val/accuracy")
"""Epochs so far, the one that ends counted; optimizer steps so far; the last running loss; what was measured."""


def read_curves(file: Path) -> list[dict[str, Any]]:
    """Give the rows of a `curves.csv` in order, numbers as int or float, None for what is missing.

    The last row of a step counts. A row that is being written is left out, and where there is no file there are none.
    """
    rows: dict[int, dict[str, Any]] = {}
    try:
        with file.open(newline="") as stream:
            lines = list(csv.DictReader(stream))
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = {name: float(line[name]) if line[name] else None for name in COLUMNS}
            row["epoch"], row["step"] = int(line["epoch"]), int(line["step"])
        except (KeyError, TypeError, ValueError):
            continue
        rows[int(line["step"])] = row
    return list(rows.values())


def begin_curves(file: Path, step: int) -> None:
    """Take up a `curves.csv` where a run begins, or goes on from a checkpoint: rows of later steps will come again."""
    known = read_curves(file) if step else []
    unfinished = file.with_name(f".{file.name}.part")
    with unfinished.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        rows.writerows([row[name] for name in COLUMNS] for row in known if row["step"] <= step)
    unfinished.replace(file)


def add_to_curves(file: Path, row: Mapping[str, Any]) -> None:
    """Write a row at once; keys of `row` that are no columns are left out."""
    with file.open("a", newline="") as stream:
        csv.writer(stream).writerow([row.get(name, "") for name in COLUMNS])
