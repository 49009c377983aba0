"""The cost of TensorBoard's pictures: the tutorial run with them, without them, and without TensorBoard.

The time of the whole command and its processor time are both given: other programs disturb the second less. In the
quick form the run has one epoch, and each variant runs once.
"""

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from alternate import alternate
from command import train
from section import Aim, Section, Setup
from table import median_and_range

VARIANTS = {
    "as you run it": [],
    "without pictures": ["callbacks.dashboard=null"],
    "without TensorBoard": ["logger=none"],
}
REPETITIONS = 3
AIM = 1.02  # of the run without pictures


def measure(setup: Setup) -> Section:
    """Run all variants in turn."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}

    def run(variant: str) -> float:
        folder = Path(setup.scratch, f"{variant}-{len(runs[variant])}".replace(" ", "-"))
        epochs = [] if setup.full else ["trainer.max_epochs=1"]
        done = train("experiment=tutorial", *epochs, *VARIANTS[variant], data=setup.data, folder=folder)
        training = json.loads((folder / "metrics.json").read_text())["train/seconds"]
        runs[variant].append({"command": done.seconds, "processor": done.processor, "training": training})
        return done.seconds

    contenders = {name: partial(run, name) for name in VARIANTS}
    alternate(contenders, REPETITIONS, setup.limit)
    return report(runs, "the tutorial's two epochs" if setup.full else "one epoch")


def report(runs: dict[str, list[dict[str, float]]], length: str) -> Section:
    """Make the table."""

    def values(name: str, key: str) -> list[float]:
        return [run[key] for run in runs[name]]

    rows: list[Any] = [
        [name, *median_and_range(values(name, "command")), *median_and_range(values(name, "processor"))]
        for name in VARIANTS
    ]
    aims = []
    for key in ("command", "processor"):
        with_pictures, without = (statistics.median(values(name, key)) for name in list(VARIANTS)[:2])
        ratio = with_pictures / without
        aims.append(Aim(f"seconds of the {key} with pictures / without <= {AIM}", ratio, ratio <= AIM))
    return Section(
        "TensorBoard and its pictures",
        f"Whole commands on CIFAR-10 at batch 4, {length}; runs of each: {len(runs['as you run it'])}.",
        ["tutorial run", "seconds", "min–max", "of processor", "min–max"],
        rows,
        aims,
        {"runs": runs},
    )
