"""`curves.csv`: what each validation of a run measured."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab_engine.base.atomic_write import atomic_write

FIXED_COLUMNS = ("epoch", "step", "train/loss")
"""Columns before those of the metrics: epochs, optimizer steps, the mean loss of the epoch so far."""


def read_curves(file: Path) -> tuple[dict[str, float], ...]:
    """Return the rows of a file, see `parse_curves`; none if there is no file."""
    try:
        return parse_curves(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()


def parse_curves(text: str) -> tuple[dict[str, float], ...]:
    """Return the rows in the order of their steps, without empty cells.

    The last row of a step counts; lines that were cut off are left out.

    Raises:
        csv.Error: the text is not CSV.
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


def start_curves(file: Path, step: int) -> None:
    """Write `curves.csv` when a run starts or resumes at `step`, without later rows, which will be written again."""
    known = read_curves(file) if step else ()
    _write(file, [row for row in known if row["step"] <= step])


def append_to_curves(file: Path, row: Mapping[str, Any]) -> None:
    """Append a row; a metric that has no column yet gets one."""
    columns = _columns(file)
    if not row.keys() <= set(columns):
        _write(file, [*read_curves(file), row])
        return
    with file.open("a", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerow(_cells(row, columns))


def _columns(file: Path) -> list[str]:
    with file.open(newline="", encoding="utf-8") as stream:
        return next(csv.reader(stream), [])


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys([*FIXED_COLUMNS, *(name for row in rows for name in row)]))
    stream = io.StringIO()
    csv.writer(stream).writerow(columns)
    csv.writer(stream).writerows(_cells(row, columns) for row in rows)
    atomic_write(file, stream.getvalue())


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    whole = {"epoch": int(row["epoch"]), "step": int(row["step"])}
    return [{**row, **whole}.get(name, "") for name in columns]
