"""The command `sweep_report`: compare the jobs of a sweep, on the terminal and in files in its folder."""

import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from lab_engine.base.errors import UserError
from lab_engine.base.program import short
from lab_engine.base.wording import did_you_mean_metric, printable
from lab_engine.config.directions import direction, refuse_worst
from lab_engine.config.schema import Mode
from lab_engine.sweeps.report import report_on
from lab_engine.sweeps.results import SweepResults, read_sweep
from lab_engine.training.terminal import LOG_WIDTH


def compare(config: dict[str, Any]) -> dict[str, Any]:
    """Write `results.csv` and `report.html` into the sweep folder, print the tables, and return the files' paths."""
    folder = Path(config["sweep"])
    sweep = read_sweep(folder, config["repeats"])
    metric, mode = choose_metric(config, sweep)
    tables = report_on(sweep, metric, mode)
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH
    console = Console(highlight=False, width=wide)
    console.print(Text("sweep_report", style="bold"))
    console.print(tables)
    files = {name: folder / name for name in ("results.csv", "report.html")}
    for name, file in files.items():
        console.print(Text(f"{name.partition('.')[0]:<11}{short(file)}"), soft_wrap=True)
    return {name: str(file) for name, file in files.items()}


def choose_metric(config: dict[str, Any], sweep: SweepResults) -> tuple[str, Mode]:
    """Return the metric to rank by, and "max" or "min".

    Raises:
        UserError: the metric or its direction is not known, or no job has the metric.
    """
    metric = config["metric"] or sweep.task.get("monitor")
    known = ", ".join(name for name in sweep.metrics if name.count("/") < 2)  # not parts of metrics
    if metric is None:
        raise UserError(
            "The jobs name no metric to rank by, or they have different tasks: add metric=NAME mode=max or "
            f"mode=min\nmetrics: {printable(known)}"
        )
    if sweep.metrics and metric not in sweep.metrics:  # rather than an empty report over a good one
        similar = printable(did_you_mean_metric(metric, sweep.metrics))
        raise UserError(f"metric={metric} is refused: no job has it{similar}\nmetrics: {printable(known)}")
    known_mode = direction(sweep.task, metric)
    mode = config["mode"] or known_mode
    if mode is None:
        raise UserError(
            f"metric={printable(metric)} needs mode=max or mode=min: it is not known whether higher or lower is better."
        )
    refuse_worst(f"metric={metric}", f"mode={mode}", mode, known_mode)
    return metric, mode
