"""The report of a sweep: `results.csv` for other programs, `report.html` to look at, tables for the terminal."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.spreadsheet import escape_formula
from lab_engine.config.schema import Mode
from lab_engine.sweeps.page import contents
from lab_engine.sweeps.parameters import text
from lab_engine.sweeps.ranking import Ranking, rank
from lab_engine.sweeps.results import SweepResults, read_sweep
from lab_engine.sweeps.table import Tables

PAGE = Path(__file__).with_name("page.html")
LOOK = Path(__file__).parents[1] / "reports" / "look.css"
ABOUT = ("number", "folder", "state", "reason", "seconds")


def report(folder: Path, metric: str, mode: Mode, repeats: Sequence[str] = ("seed",)) -> Tables:
    """Write `results.csv` and `report.html` into the folder of a sweep, which may still be running.

    Args:
        folder: of the sweep.
        metric: on validation data, by which groups of jobs are ranked.
        mode: "max": higher is better; "min": lower is better.
        repeats: keys that repeat a setting, such as `seed`; jobs that differ only in these are one group.

    Returns:
        The tables, for `rich.print` or `lab_engine.training.terminal.show`.

    Raises:
        UserError: the folder holds no jobs.
    """
    return report_on(read_sweep(folder, repeats), metric, mode)


def report_on(sweep: SweepResults, metric: str, mode: Mode) -> Tables:
    """Write the same report as `report`, for a sweep that has been read."""
    ranking = rank(sweep, metric, mode)
    atomic_write(sweep.folder / "results.csv", to_csv(sweep), errors="replace")
    atomic_write(sweep.folder / "report.html", to_html(sweep, ranking), errors="replace")
    return Tables(sweep, ranking)


def to_csv(sweep: SweepResults) -> str:
    """Return one row per job: number, folder, state, reason, seconds, parameters, all metrics.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    parameters, metrics = sweep.parameters, sweep.metrics
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(map(_cell, (*ABOUT, *parameters, *metrics)))
    for job in sweep.jobs:
        about = (getattr(job, name) for name in ABOUT)
        chosen = (job.parameters.get(key, "") for key in parameters)
        writer.writerow(map(_cell, (*about, *chosen, *(job.metrics.get(name, "") for name in metrics))))
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return "" if value is None else escape_formula(text(value))


def to_html(sweep: SweepResults, ranking: Ranking) -> str:
    """Return a page that needs no other file and no network.

    All data of the sweep is in one block of JSON, which the page's script inserts as text, never as HTML.
    """
    import plotly.offline  # late: tables and CSV do without

    data = json.dumps(_finite(contents(sweep, ranking)), allow_nan=False, separators=(",", ":"))
    page = PAGE.read_text(encoding="utf-8").replace("/* look.css */", LOOK.read_text(encoding="utf-8"))
    page = page.replace("/* plotly.js */", plotly.offline.get_plotlyjs())
    return page.replace("/* sweep */", data.replace("<", "\\u003c"))  # last, so that nothing in the data is replaced


def _finite(data: Any) -> Any:
    """Replace numbers that are not finite, which JSON cannot hold, by None."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
