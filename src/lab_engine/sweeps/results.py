"""What the jobs of a sweep have left in its folder so far, read as data; nothing in a file is trusted.

A file that is missing or damaged costs what it would have told, and the job's reason says so. Jobs without `job.json`,
such as those of Hydra's own launchers and runs that were started one by one, are read as well.
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
SIGNS_OF_A_JOB = ("config.yaml", "job.json", "metrics.json")
DAMAGED = (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError, csv.Error)
MAX_SAID = 120  # characters about a damaged file
MAX_VALUES = 10_000  # in a config.yaml; an alias in YAML can stand for any number

_record = TypeAdapter(Record)


@dataclass(frozen=True)
class JobResult:
    """What a job has come to.

    Attributes:
        number: in its sweep.
        folder: the run folder, relative to the sweep's.
        overrides: that make it this job; None if they are not known.
        state: now. "unfinished": not done, and without `job.json` no more can be said.
        reason: how it failed, and which files cannot be read.
        seconds: that its attempts took, but for those that were cut off; None if that is not known.
        parameters: what varies in the sweep.
        comparable: whether the parameters are known, so that other jobs can be said to have the same.
        metrics: as in `metrics.json`; NaN for what is not finite.
        curves: rows of `curves.csv`, one a step, without what is not there; NaN for what is not finite.
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
        repeats: keys that repeat a setting; jobs that differ in nothing else are one group.
        task: `task` of their configurations, with what `task.json` says of metrics; empty if they have different ones.
    """

    folder: Path
    jobs: tuple[JobResult, ...]
    task: Config = field(default_factory=dict)
    repeats: tuple[str, ...] = ("seed",)

    @property
    def parameters(self) -> list[str]:
        """Keys that vary."""
        return list(dict.fromkeys(key for job in self.jobs for key in job.parameters))

    @property
    def metrics(self) -> list[str]:
        """Names of all final metrics."""
        return list(dict.fromkeys(name for job in self.jobs for name in job.metrics))

    @property
    def running(self) -> bool:
        """Whether a job is at work."""
        return any(job.state == "running" for job in self.jobs)


def read_sweep(folder: Path, repeats: Sequence[str] = ("seed",)) -> SweepResults:
    """Read what is there now, of a sweep that has ended or still runs.

    Raises:
        UserError: it is no folder, or holds no jobs.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give that of a sweep, which holds a run folder for each job.")
    if _is_job([file.name for file in folder.iterdir()]):
        raise UserError(
            f"{folder} is the folder of a single run, whose results are in its metrics.json.\n"
            "Give the folder above to compare the runs that are there."
        )
    places = sorted(_find(folder), key=_natural)
    if not places:
        raise UserError(
            f"{folder} holds no jobs: no folder below it has a {', '.join(SIGNS_OF_A_JOB[:-1])} or "
            f"{SIGNS_OF_A_JOB[-1]}."
        )
    read = [_read_job(folder, place) for place in places]
    jobs, configs = [job for job, _ in read], [config for _, config in read]
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
    return SweepResults(folder, tuple(jobs), _common_task(configs, places), tuple(repeats))


def _common_task(configs: Sequence[Config | None], places: Sequence[Path]) -> Config:
    """Return what the jobs' tasks say of metrics, where all that say it say the same."""
    tasks = [task for config in configs if isinstance(config, dict) and isinstance(task := config.get("task"), dict)]
    facts = [_of_metrics(task) for task in tasks]
    if not facts or any(each != facts[0] for each in facts):
        return {}
    known: dict[str, Any] = {}
    for place in places:
        known |= read_directions(place)
    return {**facts[0], "directions": {**known, **(facts[0]["directions"] or {})}}


def _of_metrics(task: Config) -> Config:
    """What a task says of metrics; of a stranger's, what can be of no use is left out."""
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
    return any(sign in names for sign in SIGNS_OF_A_JOB)


def _find(folder: Path) -> Iterator[Path]:
    for place, inner, files in os.walk(folder):
        if _is_job(files):
            inner.clear()  # checkpoints and the like
            yield Path(place)
        inner[:] = [name for name in inner if not name.startswith(".")]


def _natural(place: Path) -> list[tuple[int, str]]:
    """Order 2 before 10."""
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
            said = f"{name} cannot be read: {str(error) or type(error).__name__}"
            problems.append(textwrap.shorten(said, MAX_SAID, placeholder="…"))
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
    except OSError:  # the lock of somebody else's job may not be ours to try
        return record.state


def _parse_record(text: str) -> Record:
    return _record.validate_python(_plain(json.loads(text), iter(range(MAX_VALUES))))


def _parse_config(text: str) -> Config:
    config = _plain(yaml.load(text, Loader), iter(range(MAX_VALUES)))  # noqa: S506 - a safe loader
    if not isinstance(config, dict):
        raise ValueError("it holds no keys")
    return config


def _plain(node: Any, left: Iterator[int]) -> Any:
    """Return what JSON and UTF-8 can hold, or refuse more values than a configuration has."""
    if next(left, None) is None:
        raise ValueError(f"it holds more than {MAX_VALUES:,} values")
    if isinstance(node, dict):
        return {_encodable(str(key)): _plain(value, left) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value, left) for value in node]
    if isinstance(node, int):
        float(node)  # or it is too large for anything
    return node if node is None or isinstance(node, bool | int | float) else _encodable(str(node))


def _encodable(text: str) -> str:
    """Replace halves of characters, such as those of a command line that is not UTF-8."""
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
