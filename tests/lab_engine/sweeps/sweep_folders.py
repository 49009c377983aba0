"""Sweep folders as jobs leave them, written without running any."""

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lab_engine.sweeps.job import Attempt, Record, State, write_record


def write_job(
    sweep: Path,
    number: int,
    overrides: Sequence[str] = (),
    state: State = "done",
    *,
    reason: str = "",
    metrics: dict[str, Any] | None = None,
    curve: Sequence[float] = (),
    folder: str = "",
    seconds: float = 10.0,
    host: str = "elsewhere",
    recorded: bool = True,
    **config: Any,
) -> Path:
    """Leave the files of one job.

    Args:
        sweep: the folder of the sweep.
        metrics: of a job that is done; the others have no file of them.
        curve: validation accuracies, one an epoch.
        folder: the run folder below `sweep`; its number, if none is given.
        recorded: in `job.json`.
        config: top-level keys that differ from a small configuration.
    """
    place = sweep / (folder or str(number))
    place.mkdir(parents=True)
    whole = {
        "task": {
            "_target_": "lenet_lab.tasks.classification.Classification",
            "monitor": "val/accuracy",
            "mode": "max",
            "directions": {"accuracy": "max", "loss": "min"},
            "percent": ["accuracy"],
        },
        "data": {"_target_": "lenet_lab.data.digits.Digits", "batch_size": 32},
        "model": {"_target_": "lenet_lab.models.lenet.LeNet", "hidden": [120, 84]},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.001, "momentum": 0.9},
        "scheduler": {},
        "augment": {},
        "callbacks": {"checkpoint": {"_target_": "a.Checkpoint", "dirpath": f"{place}/checkpoints"}},
        "seed": 42,
        "folder": str(place),
        "choices": {"data": "digits", "model": "lenet"},
    }
    (place / "config.yaml").write_text(yaml.safe_dump({**whole, **config}))
    if recorded:
        began = time.time() - seconds
        attempts = (
            [] if state == "waiting" else [Attempt(host, 1, began, None if state == "running" else began + seconds)]
        )
        write_record(place, Record(number, list(overrides), state, reason, attempts))
    if curve:
        rows = [f"{epoch},{40 * epoch},,{1 - value},{value}\n" for epoch, value in enumerate(curve, start=1)]
        (place / "curves.csv").write_text("epoch,step,train/loss,val/loss,val/accuracy\n" + "".join(rows))
    if metrics is not None:
        (place / "metrics.json").write_text(json.dumps(metrics))
    return place


def sgd(lr: float, momentum: float = 0.9) -> dict[str, Any]:
    """The optimizer's part of a configuration."""
    return {"_target_": "torch.optim.SGD", "lr": lr, "momentum": momentum}


def results(validation: float, test: float) -> dict[str, Any]:
    """The content of `metrics.json`."""
    return {
        "val/loss": 1 - validation,
        "val/accuracy": validation,
        "val/accuracy/0": validation,
        "test/loss": 1 - test,
        "test/accuracy": test,
        "test/count": 359,
        "train/seconds": 1.5,
    }


def write_grid(sweep: Path, count: int, epochs: int = 8) -> None:
    """Leave a sweep of two networks, learning rates and three seeds that has ended; every tenth job has failed."""
    chance = random.Random(0)
    for number in range(count):
        seed, rest = number % 3 + 1, number // 3
        model, lr = ("lenet", "small")[rest % 2], float(f"{0.001 * 1.5 ** (rest // 2 % 12):.3g}")
        peak = 0.97 - 0.1 * abs(lr - 0.02) / 0.02 - (0.03 if model == "lenet" else 0) + chance.gauss(0, 0.004)
        curve = [peak * (1 - 0.6 ** (epoch + 1)) for epoch in range(epochs)]
        failed = number % 10 == 9
        write_job(
            sweep,
            number,
            ["data=digits", f"model={model}", f"optimizer.lr={lr}", f"seed={seed}"],
            "failed" if failed else "done",
            reason="ValueError: loss is not finite" if failed else "",
            metrics=None if failed else results(curve[-1], curve[-1] - 0.01),
            curve=curve[: epochs // 2] if failed else curve,
            optimizer=sgd(lr),
            seed=seed,
            choices={"data": "digits", "model": model},
        )
