"""The header and the metrics of a run, on the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from rich import box
from rich.table import Table
from rich.text import Text

from lab_engine.artifacts.results import by_part
from lab_engine.base.wording import counted, is_percent, metric
from lab_engine.training.interface import Describes, Summarizes, describe_task
from lab_engine.training.speed import speed_summary
from lab_engine.training.terminal import show, show_facts


def show_run(
    title: str,
    config: Mapping[str, Any],
    data: LightningDataModule,
    task: LightningModule,
    trainer: Trainer,
) -> None:
    """Print the header of a run, in its first process: data, task, batch size, device and speed.

    Data and task give lines by `describe()`.

    Args:
        title: the package and the name of the command.
        config: of the run.
        data: after `setup`.
        task: the task to run.
        trainer: the Trainer that will run it.
    """
    if not trainer.is_global_zero:
        return
    devices, accumulated = trainer.world_size, trainer.accumulate_grad_batches
    of_data = data.describe() if isinstance(data, Describes) else {"data": type(data).__name__}
    of_task = describe_task(task)
    facts = {
        **of_data,
        "data": ": ".join(filter(None, (config["choices"].get("data"), of_data.get("data")))),
        **of_task,
        "started from": getattr(task, "started_from", ""),
        "frozen": _frozen(task),
        "batch": _batch(title, config["data"], devices, accumulated),
        "device": f"{trainer.strategy.root_device.type}, {trainer.precision}, "
        + counted(torch.get_num_threads(), "CPU thread")
        + (" per process" if devices > 1 else ""),
        "speed": speed_summary(config["speed"]) if "speed" in config else "",
    }
    show_facts(title, facts, Path(config["folder"]))


def _frozen(task: LightningModule) -> str:
    """Describe how many parameters are not trained; empty where all are."""
    whole = sum(parameter.numel() for parameter in task.parameters())
    frozen = whole - sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
    return f"{frozen:,} of {counted(whole, 'parameter')}" if frozen else ""


def _batch(title: str, data: Mapping[str, Any], devices: int, accumulated: int) -> str:
    """Return the samples per step, of an evaluation or prediction per batch; empty where data has no batch size."""
    on = counted(devices, "device")
    if title.endswith((" evaluate", " predict")):
        size = data.get("eval_batch_size")
        return f"{counted(size, 'sample')} x {on}" if size else ""
    size = data.get("batch_size")
    if not size:
        return ""
    group = f" x {accumulated} accumulated" if accumulated > 1 else ""
    rest = ", fewer at the end of an epoch" if accumulated > 1 else ""
    return f"{counted(size, 'sample')} x {on}{group} = {counted(size * devices * accumulated, 'sample')} per step{rest}"


def show_metrics(task: LightningModule, metrics: Mapping[str, Any], stage: str, percent: Sequence[str]) -> None:
    """Print the metrics of a stage: the task's `summarize(metrics, stage)`, or a table with a row per metric.

    Metrics that have a value for each part (`test/NAME/PART`) are a second table, with a row per part.

    Args:
        task: the evaluated task.
        metrics: as in `metrics.json`.
        stage: "val" or "test".
        percent: names, without the stage, of metrics that are fractions and shown in percent.
    """
    if isinstance(task, Summarizes):
        show(task.summarize(metrics, stage))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{stage} metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        if name.startswith(f"{stage}/") and name.count("/") == 1:
            table.add_row(Text(name.removeprefix(f"{stage}/")), _format(name, value, percent))
    if table.row_count:
        show(table)
    if parts := by_part(metrics, stage):
        names = list(dict.fromkeys(name for values in parts.values() for name in values))
        table = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in names:
            table.add_column(Text(name), justify="right")
        for part, values in parts.items():
            cells = (_format(f"{stage}/{name}", values[name], percent) if name in values else "" for name in names)
            table.add_row(Text(part), *cells)
        show(table)


def _format(name: str, value: float, percent: Sequence[str]) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return metric(name, value, percent) if is_percent(name, percent) else f"{value:.6g}"
