"""Compare the jobs of a sweep: `python -m lenet_lab.sweep_report SWEEP_FOLDER [overrides]`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_lab.command import run_command, user_errors
from lenet_lab.errors import UserError

if TYPE_CHECKING:
    from lenet_lab.directions import Mode
    from lenet_lab.sweeps.results import SweepResults


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Check the configuration; see `lenet_lab.command.run_command`."""
    from lenet_lab.schema import SweepReportConfig, check

    return check(config, SweepReportConfig)


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Write `results.csv` and `report.html` into the sweep folder, and print the tables; gives where the files are."""
    from rich.console import Console
    from rich.text import Text

    from lenet_lab.sweeps.report import report_on
    from lenet_lab.sweeps.results import read_sweep
    from lenet_lab.terminal import LOG_WIDTH, short

    folder = Path(config["sweep"])
    sweep = read_sweep(folder)
    metric, mode = choose_metric(config, sweep)
    tables = report_on(sweep, metric, mode)
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH
    console = Console(highlight=False, width=wide)
    console.print(Text("lenet_lab sweep_report", style="bold"))
    console.print(tables)
    files = {name: folder / name for name in ("results.csv", "report.html")}
    for name, file in files.items():
        console.print(Text(f"{name.partition('.')[0]:<11}{short(file)}"), soft_wrap=True)
    return {name: str(file) for name, file in files.items()}


def choose_metric(config: dict[str, Any], sweep: "SweepResults") -> "tuple[str, Mode]":
    """Return the metric to rank by, and whether more or less of it is better.

    Raises:
        UserError: the jobs do not say it, or none of them has the metric.
    """
    from lenet_lab.directions import direction, refuse_worst
    from lenet_lab.wording import printable

    metric = config["metric"] or sweep.task.get("monitor")
    known = ", ".join(name for name in sweep.metrics if name.count("/") < 2)  # not parts of metrics
    if metric is None:
        raise UserError(
            "The jobs do not say what to rank them by, or they have different tasks: add metric=NAME mode=max or "
            f"mode=min\nmetrics: {printable(known)}"
        )
    if sweep.metrics and metric not in sweep.metrics:  # rather than an empty report over a good one
        raise UserError(f"metric={metric} is refused: no job has it\nmetrics: {printable(known)}")
    said = direction(sweep.task, metric)
    mode = config["mode"] or said
    if mode is None:
        raise UserError(
            f"metric={printable(metric)} needs mode=max or mode=min: whether more of it is better is not known."
        )
    refuse_worst(f"metric={metric}", f"mode={mode}", mode, said)
    return metric, mode


def name_the_folder(words: list[str]) -> list[str]:
    """Give the words of the command line with `sweep=` before the folder, quoted as Hydra reads it.

    The folder is the word that is no option and no KEY=VALUE, or that there is a folder of this name.

    Raises:
        UserError: there are two of them.
    """
    found = [
        number
        for number, (before, word) in enumerate(zip(["", *words], words, strict=False))
        if not word.startswith("-") and not before.startswith("-") and ("=" not in word or Path(word).is_dir())
    ]
    if len(found) > 1:
        raise UserError(f"{' '.join(words[number] for number in found)}: give one folder, that of the sweep")
    return [_quoted(word) if number in found else word for number, word in enumerate(words)]


def _quoted(folder: str) -> str:
    from lenet_lab.quoting import quoted

    if Path(folder).is_dir():
        folder = str(Path(folder).absolute())  # a name such as ~x is meant as it is
    return f"sweep={quoted(folder)}"


if __name__ == "__main__":
    with user_errors():
        sys.argv[1:] = name_the_folder(sys.argv[1:])
    run_command("sweep_report", complete, run, leaves_files=False)
