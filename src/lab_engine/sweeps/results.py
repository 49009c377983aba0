"""Read the results of a sweep from its folder, as data: no file in it is trusted.

If a file of a job is damaged, the job's reason names it, and its other files are read. Jobs without `job.json` are read
as well: those of Hydra's own launchers, and runs that were started one by one.
"""

import csv
import json
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter

from lab_engine.artifacts.curves import parse_curves
from lab_engine.base.errors import UserError
from lab_engine.config.directions import read_directions
from lab_engine.sweeps.job import Record, State, state_of
from lab_engine.sweeps.parameters import Config, Parameters, chosen, compared

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times as fast where PyYAML was built with libyaml
JOB_FILES = ("config.yaml", "job.json", "metrics.json")
DAMAGED = (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError, csv.Error)
MAX_MESSAGE = 120  # characters about a damaged file
MAX_VALUES = 10_000  # in a config.yaml; an alias in YAML can stand for any number

_record = TypeAdapter(Record)


@dataclass(frozen=True)
class JobResult:
    """State and results of a job.

    Attributes:
        number: in its sweep.
        folder: the run folder, relative to the sweep's.
        overrides: of this job, as on the command line; None if they are not known.
        state: the current one. "unfinished": a run without `job.json` that is not done.
        reason: why it failed, and which files cannot be read.
        seconds: duration of its attempts whose end is known; None if there are none.
        parameters: of the sweep, with this job's values.
        comparable: the parameters are known, so the job can be grouped with others.
        metrics: as in `metrics.json`; NaN for values that are not finite.
        curves: rows of `curves.csv`, without empty cells; NaN for values that are not finite.
    """

    number: int
    folder: str
    overrides: tuple[str, ...] | None = None
    state: State | Literal["unfinished"] = "unfinished"
    reason: str = ""
    seconds: float | None = None
    parameters: Parameters = field(default_factory=dict)
    comparable: bool = True
    metrics: dict[str, float] = field(default_factory=dict)
    curves: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class SweepResults:
    """All jobs in a folder, by number.

    Attributes:
        task: monitor, mode, directions and percent of the task of the jobs that have metrics, or of all jobs if none
            has; empty if their tasks differ in these.
        repeats: keys that repeat a setting, such as `seed`; jobs that differ only in these are one group.
    """

    folder: Path
    jobs: tuple[JobResult, ...]
    task: Config = field(default_factory=dict)
    repeats: tuple[str, ...] = ("seed",)

    @property
    def parameters(self) -> list[str]:
        """Keys that vary between the jobs."""
        return list(dict.fromkeys(key for job in self.jobs for key in job.parameters))

    @property
    def metrics(self) -> list[str]:
        """Names of all final metrics."""
        return list(dict.fromkeys(name for job in self.jobs for name in job.metrics))

    @property
    def running(self) -> bool:
        """Whether any job is running."""
        return any(job.state == "running" for job in self.jobs)


def read_sweep(folder: Path, repeats: Sequence[str] = ("seed",)) -> SweepResults:
    """Read the current results of a sweep, which may still be running.

    Raises:
        UserError: `folder` is not a folder, is that of a single run, or holds no jobs.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give the folder of a sweep, which holds a run folder for each job.")
    if _is_job([file.name for file in folder.iterdir()]):
        raise UserError(
            f"{folder} is the folder of a single run, whose results are in its metrics.json.\n"
            "To compare several runs, give the folder that holds their run folders."
        )
    places = sorted(_find(folder), key=_natural)
    if not places:
        raise UserError(
            f"{folder} holds no jobs: no folder below it has a {', '.join(JOB_FILES[:-1])} or {JOB_FILES[-1]}.\n"
            "Give the folder of a sweep, or runs/train for all training runs."
        )
    read = [_read_job(folder, place) for place in places]
    jobs, configs = [job for job, _ in read], [config for _, config in read]
    task = _common_task([config for job, config in read if job.metrics] or configs, places)
    if all((place / "job.json").exists() for place in places):  # else runs of other commands may be among them
        parameters = chosen([job.overrides or () for job in jobs], configs)
    else:
        parameters = compared(configs)
    known = {job.number for job in jobs if job.number >= 0}
    numbers = [job.number for job in jobs] if len(known) == len(jobs) else range(len(jobs))
    jobs = [
        replace(job, number=number, parameters=values)
        for job, number, values in zip(jobs, numbers, parameters, strict=True)
    ]
    jobs.sort(key=lambda job: job.number)
    return SweepResults(folder, tuple(jobs), task, tuple(repeats))


def _common_task(configs: Sequence[Config | None], places: Sequence[Path]) -> Config:
    """Return the facts about metrics of the jobs' tasks; empty if two of the tasks differ in them."""
    tasks = [task for config in configs if isinstance(config, dict) and isinstance(task := config.get("task"), dict)]
    facts = [_metric_facts(task) for task in tasks]
    if not facts or any(each != facts[0] for each in facts):
        return {}
    known: dict[str, Any] = {}
    for place in places:
        known |= read_directions(place)
    return {**facts[0], "directions": {**known, **(facts[0]["directions"] or {})}}


def _metric_facts(task: Config) -> Config:
    """Return a task's facts about metrics; values of wrong types, which a stranger's file may have, are left out."""
    directions, percent = task.get("directions"), task.get("percent")
    return {
        "monitor": task.get("monitor") if isinstance(task.get("monitor"), str) else None,
        "mode": task.get("mode") if task.get("mode") in ("max", "min") else None,
        "directions": {str(name): mode for name, mode in directions.items() if mode in ("max", "min")}
        if isinstance(directions, dict)
        else {},
        "percent": [name for name in percent if isinstance(name, str)] if isinstance(percent, list) else [],
    }


def _is_job(names: list[str]) -> bool:
    return any(name in names for name in JOB_FILES)


def _find(folder: Path) -> Iterator[Path]:
    for place, inner, files in os.walk(folder):
        if _is_job(files):
            inner.clear()  # folders inside a run folder hold no jobs
            yield Path(place)
        inner[:] = [name for name in inner if not name.startswith(".")]


def _natural(place: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts 2 before 10."""
    parts = re.split(r"(\d+)", str(place))
    return [(int(part), "") if part.isascii() and part.isdigit() else (0, part) for part in parts]


def _read_job(sweep: Path, place: Path) -> tuple[JobResult, Config | None]:
    problems: list[str] = []

    def read(name: str, parse: Callable[[str], Any]) -> Any:
        try:
            return parse((place / name).read_text(errors="replace"))
        except FileNotFoundError:
            return None
        except DAMAGED as error:
            message = f"{name} cannot be read: {str(error) or type(error).__name__}"
            problems.append(textwrap.shorten(message, MAX_MESSAGE, placeholder="…"))
            return None

    record: Record | None = read("job.json", _parse_record)
    config: Config | None = read("config.yaml", _parse_config)
    metrics: dict[str, float] | None = read("metrics.json", _parse_metrics)
    curves: tuple[dict[str, float], ...] | None = read("curves.csv", _parse_curves)
    done = (place / "metrics.json").exists()
    result = JobResult(
        number=int(place.name) if place.name.isascii() and place.name.isdigit() else -1,
        folder=place.relative_to(sweep).as_posix(),
        state="done" if done else "unfinished",
        comparable=config is not None or record is not None,
        metrics=metrics or {},
        curves=curves or (),
    )
    if record:
        state = _state(place, record)
        result = replace(
            result,
            number=record.number,
            overrides=tuple(record.overrides),
            state=state,
            seconds=record.seconds(state),
        )
        problems.insert(0, record.reason)
    return replace(result, reason="; ".join(filter(None, problems))), config


def _state(place: Path, record: Record) -> State:
    try:
        return state_of(place, record)
    except OSError:  # no permission to open the lock of another user's job
        return record.state


def _parse_record(text: str) -> Record:
    return _record.validate_python(_plain(json.loads(text), iter(range(MAX_VALUES))))


def _parse_config(text: str) -> Config:
    config = _plain(yaml.load(text, Loader), iter(range(MAX_VALUES)))  # noqa: S506 - a safe loader
    if not isinstance(config, dict):
        raise ValueError("it holds no keys")
    return config


def _plain(node: Any, left: Iterator[int]) -> Any:
    """Return data that JSON and UTF-8 can hold.

    Raises:
        ValueError: there are more values than `left` counts.
        OverflowError: an integer is too large for a float.
    """
    if next(left, None) is None:
        raise ValueError(f"it holds more than {MAX_VALUES:,} values")
    if isinstance(node, dict):
        return {_encodable(str(key)): _plain(value, left) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value, left) for value in node]
    if isinstance(node, int):
        float(node)  # raises OverflowError
    return node if node is None or isinstance(node, bool | int | float) else _encodable(str(node))


def _encodable(text: str) -> str:
    """Replace surrogates, which stand for bytes of a command line that is not UTF-8."""
    return text.encode(errors="replace").decode()


def _parse_metrics(text: str) -> dict[str, float]:
    read = _plain(json.loads(text), iter(range(MAX_VALUES)))
    if not isinstance(read, dict):
        raise ValueError("it holds no metrics")
    numbers = {name: math.nan if value is None else value for name, value in read.items()}
    return {
        name: _finite(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _parse_curves(text: str) -> tuple[dict[str, float], ...]:
    return tuple({name: _finite(value) for name, value in row.items()} for row in parse_curves(text))


def _finite(number: float) -> float:
    return number if math.isfinite(number) else math.nan
