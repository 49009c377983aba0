"""Whether higher or lower is better for a metric: said by the task, never guessed from a name."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean_metric, shown
from lab_engine.config.schema import Mode, Task

MAX_BYTES = 100_000

FILE = "task.json"
"""In a run folder: the directions of the metrics that the task logs."""
WATCHERS = {"ModelCheckpoint", "EarlyStopping", "ReduceLROnPlateau"}
"""Classes that take a mode, whose default would be a guess."""


def direction(task: Mapping[str, Any], metric: str) -> Mode | None:
    """Return "max" if higher is better for a metric, "min" if lower is, None where the task does not say.

    Args:
        task: of the configuration; its `directions` have names without the stage, such as `loss`.
        metric: such as `val/loss`, or `val/recall/cat`, which has the direction of `recall`.
    """
    if metric == task.get("monitor"):
        return task.get("mode")
    stage, _, name = metric.partition("/")
    directions = task.get("directions") or {}
    found: Mode | None = directions.get(name, directions.get(name.partition("/")[0]))
    return found if stage in ("train", "val", "test") else None


def write_directions(folder: Path, directions: Mapping[str, Mode]) -> None:
    """Write `task.json`, with names without their stage."""
    atomic_write(folder / FILE, json.dumps({"directions": directions}, indent=1) + "\n")


def read_directions(folder: Path) -> dict[str, Mode]:
    """Read `task.json` of a run, perhaps a stranger's; empty where it is missing or unreadable."""
    try:
        with (folder / FILE).open("rb") as stream:
            found = json.loads(stream.read(MAX_BYTES))["directions"]
        return {str(name): mode for name, mode in found.items() if mode in ("max", "min")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def of_metrics(nodes: Mapping[str, Any]) -> dict[str, Mode]:
    """Return what TorchMetrics says of the metrics of a configuration, by name; imports their classes.

    Args:
        nodes: by name, each with a `_target_`. Those of which it says nothing are left out.
    """
    found: dict[str, Mode] = {}
    for name, node in nodes.items():
        if isinstance(node, Mapping) and isinstance(node.get("_target_"), str):
            with suppress(ImportError, AttributeError, ValueError):
                higher = getattr(resolve_name(node["_target_"]), "higher_is_better", None)
                if isinstance(higher, bool):
                    found[name] = "max" if higher else "min"
    return found


def with_metrics(config: Mapping[str, Any], watched: Iterable[Any]) -> dict[str, Any]:
    """Copy `task` with the directions of those metrics that are watched and that the group `metrics` makes.

    Their classes, and torch with them, are imported only where the task does not say it.
    """
    task, nodes = dict(config.get("task") or {}), config.get("metrics") or {}
    known = dict(task.get("directions") or {})
    names = {each.split("/")[1] for each in watched if isinstance(each, str) and "/" in each} - known.keys()
    if isinstance(nodes, Mapping) and names & nodes.keys():
        task["directions"] = {**of_metrics({name: nodes[name] for name in nodes if name in names}), **known}
    return task


def fill_modes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a training configuration, and set the `mode` of each callback and scheduler that watches a metric.

    Raises:
        UserError: the mode is not known, or the given one would take the worst for the best.
    """
    parts = [*(config.get("callbacks") or {}).values(), config.get("scheduler"), config.get("task")]
    task = with_metrics(config, [part.get("monitor") for part in parts if isinstance(part, Mapping)])
    if "_target_" in task and task.get("mode") not in ("min", "max"):
        given = " is missing" if task.get("mode") is None else f"={shown(task['mode'])} is refused"
        raise UserError(f"task.mode{given}: give {Task.model_fields['mode'].description}")
    if isinstance(monitor := task.get("monitor"), str) and "_target_" in task:
        known = direction({**task, "monitor": None}, monitor)
        refuse_worst(f"task.monitor={monitor}", f"task.mode={task['mode']}", task["mode"], known)
        name = monitor.partition("/")[2]
        if known is None and name in (config.get("metrics") or {}):
            key = f"+task.directions.{name}"
            raise UserError(
                f"task.monitor={monitor} needs {key}=max or {key}=min: TorchMetrics does not say whether higher or "
                "lower is better"
            )
    filled = {**config, "task": task} if "task" in config else dict(config)
    if isinstance(config.get("callbacks"), Mapping):
        filled["callbacks"] = {
            name: _with_mode(node, f"callbacks.{name}", task) if isinstance(node, Mapping) else node
            for name, node in config["callbacks"].items()
        }
    scheduler = config.get("scheduler")
    if isinstance(scheduler, Mapping) and scheduler.get("monitor"):
        filled["scheduler"] = _with_mode(scheduler, "scheduler", task)
    return filled


def _with_mode(node: Mapping[str, Any], key: str, task: Mapping[str, Any]) -> dict[str, Any]:
    metric, mode = node.get("monitor"), node.get("mode")
    takes = "mode" in node or str(node.get("_target_")).rpartition(".")[2] in WATCHERS
    if not isinstance(metric, str) or not takes:
        return dict(node)
    return {**node, "mode": resolve_mode(key, metric, mode, task)}


def resolve_mode(key: str, metric: str, mode: str | None, task: Mapping[str, Any]) -> str:
    """Return the given mode of a callback or scheduler, or else the direction that the task gives for its metric.

    Args:
        key: of the callback or scheduler in the configuration.
        metric: that it watches.
        mode: "max" or "min", or None.
        task: of the configuration.

    Raises:
        UserError: the mode is not known, or the given one would take the worst for the best.
    """
    known = direction(task, metric)
    if mode is None and known is None:
        raise UserError(f"{key}.monitor={metric} needs {key}.mode=max or {key}.mode=min: {_not_known(metric, task)}")
    refuse_worst(f"{key}.monitor={metric}", f"{key}.mode={mode}", mode or "", known)
    return str(mode or known)


def refuse_worst(monitor: str, given: str, mode: str, known: str | None) -> None:
    """Refuse a direction that would take the worst for the best.

    Args:
        monitor: KEY=METRIC.
        given: KEY=VALUE of the direction.
        mode: "max" or "min", that VALUE means.
        known: the direction that the task gives.

    Raises:
        UserError: `mode` and `known` differ.
    """
    if mode in ("max", "min") and known is not None and mode != known:
        raise UserError(f"{monitor} cannot be used with {given}: the worst would count as the best")


def fill_sweeper(sweeper: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """Copy `sweeper` with its metric and direction, which default to those that the task monitors.

    Raises:
        UserError: the direction is not known, or the given one would take the worst for the best.
    """
    filled = dict(sweeper)
    if filled.get("metric") is None:
        filled["metric"] = task.get("monitor")
    metric, given = filled["metric"], filled.get("direction")
    known = direction(task, metric) if isinstance(metric, str) else None
    if given is None and known is None and isinstance(metric, str) and task:
        raise UserError(
            f"sweeper.metric={metric} needs sweeper.direction=maximize or sweeper.direction=minimize: "
            + _not_known(metric, task)
        )
    if given is None:
        filled["direction"] = "minimize" if known == "min" else "maximize"
    wanted = {"maximize": "max", "minimize": "min"}.get(str(given), "")
    refuse_worst(f"sweeper.metric={metric}", f"sweeper.direction={given}", wanted, known)
    return filled


def _not_known(metric: str, task: Mapping[str, Any]) -> str:
    names = dict.fromkeys([task.get("monitor", ""), *(f"val/{name}" for name in task.get("directions") or {})])
    known = [name for name in names if name]
    return (
        f"it is not known whether higher or lower is better{did_you_mean_metric(metric, known)}\n"
        f"The task says it only of {', '.join(known)}."
    )
