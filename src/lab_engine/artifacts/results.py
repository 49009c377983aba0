"""The metrics that a task has logged, and `metrics.json`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Trainer

from lab_engine.base.atomic_write import atomic_write

STAGES = ("val/", "test/")
COUNT = "count"
"""Last part of the names under which a task logs the number of samples, a whole number."""


def measured(trainer: Trainer) -> dict[str, float]:
    """Return the metrics `val/…` and `test/…` of the last validation or test, whoever logged them."""
    return {
        name: int(value) if name.rpartition("/")[2] == COUNT else float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(STAGES)
    }


def by_part(metrics: Mapping[str, float], stage: str) -> dict[str, dict[str, float]]:
    """Return the metrics that have a value for each part, such as `test/f1/red`: by part, then by name.

    Args:
        metrics: as in `metrics.json`.
        stage: "val" or "test".
    """
    parts: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        of_stage, _, rest = name.partition("/")
        short, _, part = rest.partition("/")
        if of_stage == stage and part:
            parts.setdefault(part, {})[short] = value
    return parts


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write `metrics.json`; null stands for a value that is not finite."""
    finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
    atomic_write(folder / "metrics.json", json.dumps(finite, indent=1, allow_nan=False) + "\n")
