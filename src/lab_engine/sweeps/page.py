"""The content of a sweep's `report.html` as plain data: tables of formatted texts, curves, axes."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lab_engine.base.wording import is_percent
from lab_engine.sweeps.importance import MIN_JOBS, importance, is_number, spans_decades
from lab_engine.sweeps.job import ENDED
from lab_engine.sweeps.parameters import canonical, text
from lab_engine.sweeps.ranking import Group, Ranking, summarize
from lab_engine.sweeps.results import JobResult, SweepResults
from lab_engine.sweeps.table import brief, count, duration, failed_first, name_of, numbers, value

Cell = tuple[str, Any]
"""The text of a table's cell, and the key to sort by: a number, a text or None."""

MAX_TICKS = 8  # values with one tick each; an axis with more is a scale of numbers
NO_VALUE = "–"


def contents(sweep: SweepResults, ranking: Ranking) -> dict[str, Any]:
    """Return the page's content; numbers may be NaN."""
    return {
        "folder": str(sweep.folder),
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        "running": sweep.running,
        "missing": sum(job.state not in ENDED for job in sweep.jobs),
        "count": count(sweep),
        "metric": ranking.metric,
        "test": ranking.test,
        "mode": ranking.mode,
        "best": _best(ranking),
        "groups": _groups(sweep, ranking),
        "jobs": _jobs(sweep, ranking),
        "curves": _curves(ranking, sweep.repeats),
        "axes": _axes(sweep, ranking),
        "importance": list((importance(ranking) or {}).items()),
        "min_jobs": MIN_JOBS,
    }


def _best(ranking: Ranking) -> dict[str, str] | None:
    best = ranking.best
    if best is None:
        return None
    return {
        "name": name_of(best),
        "jobs": numbers(best.jobs),
        "validation": value(ranking.metric, best.of(ranking.metric), ranking.percent),
        "test": value(ranking.test, best.of(ranking.test), ranking.percent),
    }


def _names(sweep: SweepResults, ranking: Ranking) -> list[str]:
    """Return the metrics that have a column: the ranking one, the same on test data, others; no classes, no counts."""
    rest = [name for name in sweep.metrics if name.startswith(("val/", "test/")) and name.count("/") == 1]
    names = dict.fromkeys([ranking.metric, ranking.test, *rest])
    return [name for name in names if name in sweep.metrics and not name.endswith("/count")]


def _groups(sweep: SweepResults, ranking: Ranking) -> dict[str, Any]:
    keys = [key for key in sweep.parameters if key not in sweep.repeats]
    names = _names(sweep, ranking)

    def row(group: Group) -> list[Cell]:
        statistics = [(name, group.of(name)) for name in names]
        return [
            *(_parameter(group.parameters, key) for key in keys),
            (group.n, len(group.done)),
            *((value(name, each, ranking.percent), each.mean if each else None) for name, each in statistics),
            (duration(group.seconds), group.seconds),
            (numbers(group.jobs), group.jobs[0].number),
        ]

    return {
        "columns": [*keys, "n", *names, "time", "jobs"],
        "numeric": [False] * len(keys) + [True] * (len(names) + 2) + [False],
        "rows": [row(group) for group in ranking.groups],
    }


def _jobs(sweep: SweepResults, ranking: Ranking) -> dict[str, Any]:
    keys, names = sweep.parameters, _names(sweep, ranking)
    jobs = sorted(sweep.jobs, key=failed_first)

    def row(job: JobResult) -> list[Cell]:
        return [
            (str(job.number), job.number),
            (job.state, job.state),
            *(_parameter(job.parameters, key) for key in keys),
            *((value(name, summarize(_of(job, name)), ranking.percent), job.metrics.get(name)) for name in names),
            _epochs(job),
            (duration(job.seconds), job.seconds),
            (job.reason, job.reason),
        ]

    return {
        "columns": ["job", "state", *keys, *names, "epochs", "time", "reason"],
        "numeric": [True, False] + [False] * len(keys) + [True] * (len(names) + 2) + [False],
        "rows": [row(job) for job in jobs],
        "folders": [job.folder for job in jobs],
        "overrides": [" ".join(job.overrides or ()) for job in jobs],
    }


def _of(job: JobResult, name: str) -> list[float]:
    return [job.metrics[name]] if name in job.metrics else []


def _epochs(job: JobResult) -> Cell:
    """Return the cell with the last epoch of a job."""
    last = job.curves[-1]["epoch"] if job.curves else None
    return ("", None) if last is None else (f"{last:g}", last)


def _parameter(parameters: dict[str, Any], key: str) -> Cell:
    if key not in parameters:
        return "", None
    plain = parameters[key]
    return brief(plain), plain if is_number(plain) else text(plain)


def _curves(ranking: Ranking, repeats: Sequence[str]) -> dict[str, Any]:
    """Return the lines of all jobs, those of the best group first; `group` is the place in the ranking, from 0."""
    lines = [
        {
            "group": place,
            "job": job.number,
            "repeat": " ".join(f"{key}={text(job.parameters[key])}" for key in repeats if key in job.parameters),
            "state": job.state,
            "epoch": [row["epoch"] for row in job.curves],
            "values": {name: [_short(row.get(name)) for row in job.curves] for name in _curve_names([job])},
        }
        for place, group in enumerate(ranking.groups)
        for job in group.jobs
        if job.curves
    ]
    names = _curve_names([job for group in ranking.groups for job in group.jobs])
    names.sort(key=lambda name: (name != ranking.metric, not name.startswith("val/")))
    return {
        "names": names,
        "fractions": [is_percent(name, ranking.percent) for name in names],
        "groups": [name_of(group) for group in ranking.groups],
        "lines": lines,
    }


def _curve_names(jobs: Sequence[JobResult]) -> list[str]:
    names = dict.fromkeys(name for job in jobs for row in job.curves for name in row)
    return [name for name in names if name not in ("epoch", "step")]


def _short(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(f"{number:.6g}")


def _axes(sweep: SweepResults, ranking: Ranking) -> list[dict[str, Any]]:
    """Return the axes of the parallel coordinates as Plotly's `parcoords.dimensions`, the metric last.

    Each job that is done and has a finite result is one line. Empty if no parameter varies between these jobs.
    """
    jobs = [
        job
        for job in sweep.jobs
        if job.state == "done" and job.comparable and math.isfinite(job.metrics.get(ranking.metric, math.nan))
    ]
    keys = [key for key in sweep.parameters if key not in sweep.repeats]
    values = {key: [job.parameters.get(key, NO_VALUE) for job in jobs] for key in keys}
    axes = [_axis(key, each) for key, each in values.items() if len(set(map(canonical, each))) > 1]
    if not axes:
        return []
    results: dict[str, Any] = {"label": ranking.metric, "values": [job.metrics[ranking.metric] for job in jobs]}
    if is_percent(ranking.metric, ranking.percent):
        results["tickformat"] = ".1~%"
    return [*axes, results]


def _axis(key: str, values: Sequence[Any]) -> dict[str, Any]:
    distinct = {canonical(each): each for each in values}
    if len(distinct) > MAX_TICKS and all(map(is_number, values)):
        if not spans_decades(values):
            return {"label": key, "values": list(values)}
        powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
        return {
            "label": key,
            "values": [math.log10(each) for each in values],
            "tickvals": list(powers),
            "ticktext": [f"{10.0**power:g}" for power in powers],
        }
    ordered = sorted(distinct.values(), key=lambda each: (not is_number(each), each if is_number(each) else text(each)))
    places = {canonical(each): place for place, each in enumerate(ordered)}
    return {
        "label": key,
        "values": [places[canonical(each)] for each in values],
        "tickvals": list(range(len(ordered))),
        "ticktext": [brief(each) for each in ordered],
        "range": [-0.2, len(ordered) - 0.8],
    }
