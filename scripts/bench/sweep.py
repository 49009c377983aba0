"""Jobs per minute of a sweep: lenet_lab's own launcher, Hydra's basic one and joblib's.

* CIFAR-10: 4 jobs of 1,500 steps at batch 4 on image files
* digits, in the full form: 16 jobs of 10 epochs on the handwritten digits (batch 32), seed and learning rate differ

by the launchers

* lenet_lab: `python -m lenet_lab.train -m …`; each job a process, as many at once as there are cores
* basic: the same with `hydra/launcher=basic`, one job after the other in one process
* joblib: the same with `hydra/launcher=joblib` and as many workers as there are cores; it is left out unless
  the package hydra-joblib-launcher is installed

A sweep's time is that of its whole command, imports and report included. The overhead of a job is the time of its
process minus that of its training steps (so validation, test, checkpoints and set-up count as overhead).
"""

import importlib.util
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

from alternate import alternate
from command import call, on_images
from section import Aim, Section, Setup
from table import median_and_range, number

from lab_engine.base.devices import cores

CORES = cores()
LAUNCHERS = {
    "lenet_lab": [],
    "basic": ["hydra/launcher=basic"],
    "joblib": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"],
}
DIGITS = [
    "data=digits",
    "data.batch_size=32",
    "trainer.max_epochs=10",
    "seed=1,2,3,4,5,6,7,8",
    "optimizer.lr=0.02,0.05",
]
CIFAR10 = ["trainer.max_epochs=1", "trainer.limit_train_batches=1500", "seed=1,2,3,4"]
JOBS = {"CIFAR-10": 4, "digits": 16}
REPETITIONS = 3
AIM_RATIO = 1.8  # of jobs a minute, lenet_lab to basic
AIM_OVERHEAD = 0.5  # seconds a job


def sweep(launcher: str, jobs: list[str], folder: Path) -> tuple[float, list[float]]:
    """Return the seconds of a sweep, and for each job in a process of its own, its seconds minus those of its steps."""
    words = ["-m", "lenet_lab.train", "-m", *jobs, *LAUNCHERS[launcher], f"hydra.sweep.dir={folder}"]
    seconds = call(words).seconds
    overheads = []
    for file in sorted(folder.glob("*/job.json")):
        attempts = json.loads(file.read_text())["attempts"]
        process = sum(attempt["ended"] - attempt["started"] for attempt in attempts)
        overheads.append(process - json.loads(file.with_name("metrics.json").read_text())["train/seconds"])
    return seconds, overheads


def measure(setup: Setup) -> Section:
    """Run all sweeps in turn."""
    names = list(LAUNCHERS)
    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        print("joblib is left out: pip install hydra-joblib-launcher", file=sys.stderr)
        names.remove("joblib")
    sets = {"CIFAR-10": [*CIFAR10, *on_images(setup.data)]} | ({"digits": DIGITS} if setup.full else {})
    rows: list[Any] = []
    aims: list[Aim] = []
    raw: dict[str, Any] = {}
    for kind, jobs in sets.items():
        overheads: list[float] = []

        def run(launcher: str, kind: str = kind, jobs: list[str] = jobs, overheads: list[float] = overheads) -> float:
            folder = setup.scratch / f"{kind}-{launcher}-{len(list(setup.scratch.iterdir()))}"
            seconds, found = sweep(launcher, jobs, folder)
            overheads += found if launcher == "lenet_lab" else []
            return seconds

        seconds = alternate({name: partial(run, name) for name in names}, REPETITIONS, setup.limit)
        rows += report(kind, seconds)
        raw[kind] = {"seconds": seconds, "overheads": overheads}
        ratio = statistics.median(seconds["basic"]) / statistics.median(seconds["lenet_lab"])
        overhead = statistics.median(overheads)
        aims.append(Aim(f"{kind}: jobs a minute, lenet_lab / basic >= {AIM_RATIO}", ratio, ratio >= AIM_RATIO))
        aims.append(Aim(f"{kind}: overhead of a job, s <= {AIM_OVERHEAD}", overhead, overhead <= AIM_OVERHEAD))
    about = f"Whole commands with imports and report, on {CORES} cores."
    columns = ["launcher", "jobs", "seconds", "min–max", "jobs a minute", "times as fast as basic"]
    return Section("Jobs of a sweep", about, columns, rows, aims, raw)


def report(kind: str, seconds: dict[str, list[float]]) -> list[list[Any]]:
    """Return the rows of one set of jobs."""
    basic = statistics.median(seconds["basic"])
    return [
        [
            *(launcher, f"{JOBS[kind]} on {kind}", *median_and_range(times)),
            *(number(60 * JOBS[kind] / statistics.median(times)), basic / statistics.median(times)),
        ]
        for launcher, times in seconds.items()
    ]
