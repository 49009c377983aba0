"""Training steps per second of several jobs of a sweep that run at once, also of more jobs than cores.

All jobs of the sweep run at once (`launcher.slots`), at batch 4, each in a process of its own. The steps per second of
all jobs are added up; start, validation and test are left out.
"""

import json
import statistics
import tempfile
from functools import partial
from pathlib import Path

from alternate import alternate
from command import train
from scaling import LITTLE
from section import Chart, Section, Setup
from table import median_and_range

from lab_engine.base.devices import cores

STEPS = {False: 2000, True: 6000}  # of each job
REPETITIONS = 3


def measure(setup: Setup) -> Section:
    """Measure all numbers of jobs in turn."""
    most = 2 * cores()
    counts = list(range(1, most + 1)) if setup.full and most <= 8 else sorted({1, max(cores() // 2, 1), cores(), most})
    found = alternate(
        {f"{count} at once": partial(steps_a_second, count, setup) for count in counts},
        REPETITIONS,
        setup.limit,
    )
    first = statistics.median(next(iter(found.values())))
    rows, points = [], []
    for count, rates in zip(counts, found.values(), strict=True):
        median = statistics.median(rates)
        rows.append([count, *median_and_range(rates), 1000 * count / median, median / first])
        points.append((float(count), median))
    return Section(
        "Scaling: jobs at once",
        f"Jobs of a sweep at batch 4 on {cores()} cores, each with one thread.",
        ["jobs at once", "steps a second, all", "min–max", "ms a step, each", "times as many"],
        rows,
        [],
        {"steps_a_second": found},
        Chart("jobs at once", "training steps a second, all jobs together", {"lenet_lab": points}),
    )


def steps_a_second(count: int, setup: Setup) -> float:
    """Return the steps per second of `count` jobs together."""
    folder = Path(tempfile.mkdtemp(dir=setup.scratch), "sweep")
    seeds = ",".join(map(str, range(1, count + 1)))
    words = [f"launcher.slots={count}", f"seed={seeds}", f"trainer.limit_train_batches={STEPS[setup.full]}"]
    if count == 1:  # a sweep needs two values
        train(*LITTLE, *words[1:], data=setup.data, folder=folder)
        folder = folder.parent
    else:
        train("-m", *LITTLE, *words, data=setup.data, folder=folder)
    found = [json.loads(file.read_text()) for file in folder.glob("*/metrics.json")]
    return sum(metrics["train/steps"] / metrics["train/seconds"] for metrics in found)
