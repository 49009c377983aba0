"""The cost of checkpoints to resume from, of deterministic algorithms, and of checks for a loss that is not finite.

Steps at batch 4, where each microsecond counts: with the defaults, and with one of these switched off. And the time to
write a checkpoint of LeNet, once every two minutes: to the disk, synced, renamed.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from alternate import alternate
from command import train
from section import Aim, Section, Setup

STEPS = 3000
REPETITIONS = 7
DEFAULT = "default"
WITHOUT = {
    "without checkpoints in an epoch": ["callbacks.last.every_n_minutes=null"],
    "without checkpoints to resume from, or signals": ["callbacks.last=null"],
    "without checks of the loss": ["callbacks.finite=null"],
    "without deterministic algorithms": ["deterministic=false"],
}
CHECKPOINTS = 50
MINUTES = 2.0  # between checkpoints


def measure(setup: Setup) -> Section:
    """Train with all variants in turn, then write checkpoints."""
    folders: list[Path] = []

    def step(words: list[str]) -> float:
        """Train, and return the microseconds of a step."""
        folder = setup.scratch / str(len(folders))
        folders.append(folder)
        limits = (f"trainer.limit_train_batches={STEPS}", "trainer.max_epochs=1", "trainer.limit_val_batches=1")
        rest = ("trainer.limit_test_batches=1", "report=false", "threads=1", "callbacks.dashboard=null")
        train(*limits, *rest, *words, data=setup.data, folder=folder)
        metrics = json.loads((folder / "metrics.json").read_text())
        return 1e6 * float(metrics["train/seconds"]) / int(metrics["train/steps"])

    variants = {DEFAULT: list[str](), **WITHOUT}
    contenders = {name: (lambda words=words: step(words)) for name, words in variants.items()}
    found = alternate(contenders, REPETITIONS, setup.limit)
    medians = {name: statistics.median(times) for name, times in found.items()}
    written = checkpoint_times(folders[0], setup.scratch)
    share = statistics.median(written) / (60 * MINUTES)
    rows: list[list[Any]] = [
        [name, medians[name], min(times), max(times), medians[DEFAULT] / medians[name]] for name, times in found.items()
    ]
    rows.append(["a checkpoint, ms", *(1000 * of(written) for of in (statistics.median, min, max)), None])
    return Section(
        title="Safety",
        about="Microseconds of a step of LeNet at batch 4 on one thread; the last column is the default's time divided "
        "by the variant's. The last row is the time to write a checkpoint.",
        columns=["variant", "median", "min", "max", "ratio"],
        rows=rows,
        aims=[
            Aim(f"share of the time that a checkpoint every {MINUTES:g} minutes takes <= 0.001", share, share <= 1e-3)
        ],
        raw={"step, microseconds": found, "checkpoint, s": written},
    )


def checkpoint_times(run: Path, scratch: Path) -> list[float]:
    """Return the seconds of each of many writes of the same checkpoint."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
    from lab_engine.artifacts.checkpoint import read_checkpoint
    from lab_engine.artifacts.checkpoint_io import write_checkpoint

    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    times = []
    for _ in range(CHECKPOINTS):
        start = time.perf_counter()
        write_checkpoint(checkpoint, scratch / "last.ckpt", keep_previous=True)
        times.append(time.perf_counter() - start)
    return times
