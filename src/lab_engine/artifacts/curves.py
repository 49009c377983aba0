"""`curves.csv`: what each validation of a run measured."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab_engine.base.atomic_write import atomic_write

FIRST = ("epoch", "step", "train/loss")
"""Columns before those of the metrics: epochs so far, the one that ends counted; optimizer steps so far; the last
running loss."""


def read_curves(file: Path) -> tuple[dict[str, float], ...]:
    """Return what `parse_curves` finds in a file; nothing where there is no file."""
    try:
        return parse_curves(file.read_text())
    except FileNotFoundError:
        return ()


def parse_curves(text: str) -> tuple[dict[str, float], ...]:
    """Return rows by step, without what is missing in them.

    The last row of a step counts; a line that was cut off, now or before the run was resumed, is left out.

    Raises:
        csv.Error: it is no such file.
    """
    rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    names = rows[0] if rows else []
    steps: dict[float, dict[str, float]] = {}
    for row in rows[1:]:
        with suppress(ValueError):
            values = {name: float(value) for name, value in zip(names, row, strict=True) if value != ""}
            if "epoch" in values and "step" in values:
                steps[values["step"]] = values
    return tuple(steps[step] for step in sorted(steps) if math.isfinite(step))


def begin_curves(file: Path, step: int) -> None:
    """Open a `curves.csv` where a run begins, or goes on from a checkpoint: rows of later steps will come again."""
    known = read_curves(file) if step else ()
    _write(file, [row for row in known if row["step"] <= step])


def add_to_curves(file: Path, row: Mapping[str, Any]) -> None:
    """Write a row at once; metrics that have no column yet get one."""
    columns = _columns(file)
    if not row.keys() <= set(columns):
        _write(file, [*read_curves(file), row])
        return
    with file.open("a", newline="") as stream:
        csv.writer(stream).writerow(_cells(row, columns))


def _columns(file: Path) -> list[str]:
    with file.open(newline="") as stream:
        return next(csv.reader(stream), [])


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys([*FIRST, *(name for row in rows for name in row)]))
    stream = io.StringIO()
    csv.writer(stream).writerow(columns)
    csv.writer(stream).writerows(_cells(row, columns) for row in rows)
    atomic_write(file, stream.getvalue())


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    whole = {"epoch": int(row["epoch"]), "step": int(row["step"])}
    return [{**row, **whole}.get(name, "") for name in columns]
