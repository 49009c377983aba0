"""The cost of the live bar: steps at batch 4 on a terminal with and without it, in turns, and the time to draw it."""

import json
import math
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from alternate import alternate
from command import on_images
from section import Aim, Section, Setup
from step import BATCH, run_in_terminal

STEPS = 3000
REPETITIONS, REPETITIONS_IN_FULL = 6, 20
DRAWINGS = 200
MOST = 0.01  # of a step
WITH, WITHOUT = "with the bar", "without"


def measure(setup: Setup) -> Section:
    """Train with and without a bar in turns, then draw one many times."""
    turns = REPETITIONS_IN_FULL if setup.full else REPETITIONS
    runs = alternate({WITH: partial(step, setup, "1"), WITHOUT: partial(step, setup, "0")}, turns, setup.limit)
    ratios = [math.log(one / other) for one, other in zip(runs[WITH], runs[WITHOUT], strict=True)]
    spread = 2 * statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.inf
    ratio, low, high = (math.exp(statistics.mean(ratios) + each) for each in (0, -spread, spread))
    seconds, interval = drawing()
    rows: list[list[Any]] = [[name, statistics.median(times), min(times), max(times)] for name, times in runs.items()]
    rows += [
        ["ratio, with about 95 % interval", ratio, low, high],
        ["a drawing, ms of CPU", 1000 * seconds, None, None],
    ]
    return Section(
        title="The live bar",
        about=f"Milliseconds of a step of LeNet at batch {BATCH}; {len(ratios)} pairs of runs of {STEPS:,} steps. "
        f"The bar is drawn every {interval:g} s.",
        columns=["variant", "median", "min", "max"],
        rows=rows,
        aims=[Aim(f"drawing / time between drawings <= {MOST}", seconds / interval, seconds / interval <= MOST)],
        raw={"step, ms": runs, "drawing, s": seconds},
    )


def step(setup: Setup, interactive: str) -> float:
    """Train on a terminal, which rich's variable TTY_INTERACTIVE makes one without bars; return the ms of a step."""
    folder = tempfile.mkdtemp(dir=setup.scratch)
    words = ["-m", "lenet_lab.train", *on_images(setup.data), f"data.batch_size={BATCH}", "trainer.accelerator=cpu"]
    words += ["trainer.max_epochs=1", f"trainer.limit_train_batches={STEPS}", "trainer.limit_val_batches=1"]
    words += ["trainer.limit_test_batches=1", "report=false", f"hydra.run.dir={folder}"]
    run_in_terminal(words, TTY_INTERACTIVE=interactive)
    metrics = json.loads(Path(folder, "metrics.json").read_text())
    return 1000 * float(metrics["train/seconds"]) / int(metrics["train/steps"])


def drawing() -> tuple[float, float]:
    """Return the CPU time in seconds to draw a bar with facts once, and the seconds between two drawings."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
    from rich.console import Console

    from lab_engine.base import bar

    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as file:
        console = Console(file=file, force_terminal=True, force_interactive=True, width=100)
        bar.draw_bars_on(console)
        facts = ["loss 0.412", "lr 0.001", "1,234 samples/s"]
        shown = bar.Bar("epoch 1/2", DRAWINGS, facts=lambda: facts)
        used = 0.0
        for done in range(DRAWINGS):
            shown.due = 0.0
            start = time.process_time()
            shown.update(done)
            used += time.process_time() - start
            os.read(ours, 65536)
        shown.close()
        os.read(ours, 65536)
        bar.draw_bars_on(None)
    os.close(ours)
    return used / DRAWINGS, bar.SECONDS_BETWEEN_UPDATES
