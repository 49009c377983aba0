"""Real runs: started, killed, continued, and compared with a twin that nothing happened to."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

COMMON = ["report=false", "callbacks.dashboard=null"]
SECONDS_MOST = 600.0  # that a run of a part may take
OF_TIME = ("train/images_per_second",)  # curves that no two runs have in common


def start(where: Path, *words: str, module: str = "train", **variables: str) -> subprocess.Popen[str]:
    """Start a command in a folder; what it says goes to files `out` and `err` there, behind what is there already."""
    environment = {**os.environ, "LENET_LAB_CACHE": str(where / "cache"), **variables}
    with (where / "out").open("a") as out, (where / "err").open("a") as err:
        return subprocess.Popen(
            [sys.executable, "-m", f"lenet_lab.{module}", *words],
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[str], seconds: float = SECONDS_MOST) -> int:
    """Wait for its end, and give its status; one that takes too long is killed, with all that it has started."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        return process.wait()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it and all that it has started, at once and without a word."""
    import psutil

    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def differences(folder: Path, twin: Path) -> list[str]:
    """Say what differs between a finished run and its twin, but for times."""
    ours, theirs = (checkpoint(each / "checkpoints" / "last.ckpt") for each in (folder, twin))
    parts = ("state_dict", "optimizer_states", "lr_schedulers")
    found = [f"{key} of last.ckpt differ" for key in parts if not same(ours[key], theirs[key])]
    if metrics(folder) != metrics(twin):
        found.append("metrics.json differ")
    if (folder / "curves.csv").read_text() != (twin / "curves.csv").read_text():
        found.append("curves.csv differ")
    if scalars(folder) != scalars(twin):
        found.append("curves of TensorBoard differ")
    return found


def checkpoint(file: Path) -> dict[str, Any]:
    """Read one."""
    read: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return read


def same(one: Any, other: Any) -> bool:
    """Compare to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def metrics(folder: Path) -> dict[str, Any]:
    """Give `metrics.json` without times."""
    read = json.loads((folder / "metrics.json").read_text())
    return {key: value for key, value in read.items() if key != "train/seconds"}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read TensorBoard's curves as TensorBoard does, by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of each point that a resumed run writes anew
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag not in OF_TIME]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}
