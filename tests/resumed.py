"""What two runs must have in common if one of them was interrupted and the other was not."""

import json
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

OF_THE_CLOCK = ("seconds", "epoch_seconds", "train/seconds", "train/samples_per_second")


def assert_same_run(one: Path, other: Path, tensorboard: bool = True) -> None:
    """Compare weights, optimizer, schedule, random numbers, counters, metrics and curves, to the last bit."""
    for name in ("last.ckpt", "best.ckpt"):
        checkpoints = [torch.load(run / "checkpoints" / name, weights_only=True) for run in (one, other)]
        # callbacks keep paths, and times: the others' states are compared
        callbacks = [each.pop("callbacks") for each in checkpoints]
        kept = [{key: each.get(key) for key in ("Progress", "RunningMeans", "LoggedMeans")} for each in callbacks]
        best = [[each.get("best_model_score") for each in states.values()] for states in callbacks]
        found = [*differences(*checkpoints, name), *differences(*kept, name), *differences(*best, name)]
        assert found == [], found
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (one, other)]
    found = differences(*metrics, "metrics.json")
    curves = [(run / "curves.csv").read_text().splitlines() for run in (one, other)]
    found += differences(*curves, "curves.csv")
    if tensorboard:
        found += differences(scalars(one), scalars(other), "TensorBoard")
    assert found == [], found


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of TensorBoard's curves."""
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
        if tag not in OF_THE_CLOCK
    }


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """To `torch.equal`, 0 and -0 are the same, and NaN is not itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(each.contiguous().flatten().view(torch.uint8) for each in (one, other)))


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two checkpoints, or parts of them, differ, but for times."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if _same_bits(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in one.keys() | other.keys() if key not in OF_THE_CLOCK]
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{where}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        parts = enumerate(zip(one, other, strict=True))
        return [found for number, pair in parts for found in differences(*pair, f"{where}/{number}")]
    return [] if one == other else [f"{where}: {one} {other}"]
