"""A sweep on the terminal: the ranked groups, the jobs that are not done, and the best group in one line."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lab_engine.base.wording import counted, is_percent, printable
from lab_engine.sweeps.parameters import read_value, text
from lab_engine.sweeps.ranking import Group, Ranking, Statistic
from lab_engine.sweeps.results import JobResult, SweepResults

MAX_ROWS = 20  # of each table; results.csv has all
ALL_COLUMNS_WIDTH = 80  # characters; a narrower table has no columns of time and jobs
MAX_JOBS = 6  # job numbers in a row
MAX_VALUE_LENGTH = 40  # characters of a parameter's value
NOT_LISTED = ("done", "pruned", "waiting")  # states of jobs that are counted but not listed one by one
IN_ORDER = {"interrupted": "yellow", "unfinished": "yellow", "running": "cyan"}  # after those that failed


class Tables:
    """The tables of a sweep, for `console.print`; parameters that do not fit in a column each share one column."""

    def __init__(self, sweep: SweepResults, ranking: Ranking) -> None:
        self.sweep, self.ranking = sweep, ranking

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print for a console of this width."""
        yield Text(count(self.sweep))
        groups = [group for group in self.ranking.groups if group.of(self.ranking.metric)]
        if groups:
            wide = self._groups(groups, options.max_width, columns=True)
            widest = Measurement.get(console, options.update(max_width=10_000), wide).maximum
            yield Text()
            yield wide if widest <= options.max_width else self._groups(groups, options.max_width, columns=False)
            yield from _left_out(len(groups), "more group")
        others = sorted((job for job in self.sweep.jobs if _needs_a_look(job)), key=failed_first)
        if others:
            yield Text()
            yield _others(others)
            yield from _left_out(len(others), "more job")
        yield Text()
        yield Text(verdict(self.ranking), style="bold")

    def _groups(self, groups: Sequence[Group], width: int, columns: bool) -> RenderableType:
        ranking = self.ranking
        keys = [key for key in self.sweep.parameters if key not in self.sweep.repeats] if columns else []
        names = [name for name in (ranking.metric, ranking.test) if name in self.sweep.metrics]
        table = _table()
        for key in keys:
            table.add_column(Text(printable(key)), overflow="fold")
        if not columns:
            table.add_column("parameters", overflow="fold")
        wide = width >= ALL_COLUMNS_WIDTH
        for name in ("n", *names, *(("time", "jobs") if wide else ())):
            table.add_column(Text(printable(name)), justify="right", no_wrap=name != "jobs", overflow="fold")
        for group in groups[:MAX_ROWS]:
            table.add_row(
                *(Text(printable(brief(group.parameters[key])) if key in group.parameters else "") for key in keys),
                *([] if columns else [Text(name_of(group))]),
                group.n,
                *(
                    Text(value(name, group.of(name), ranking.percent), style="bold" if group is ranking.best else "")
                    for name in names
                ),
                *((duration(group.seconds), numbers(group.jobs)) if wide else ()),
            )
        return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)


def _others(jobs: Sequence[JobResult]) -> Table:
    table = _table()
    table.add_column("job", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("parameters and reason", overflow="fold")
    for job in jobs[:MAX_ROWS]:
        what = parameters_text(job.parameters) or overrides_text(job.overrides or ())
        lines = [printable(what) or printable(job.folder), printable(job.reason)]
        table.add_row(
            str(job.number), Text(job.state, style=IN_ORDER.get(job.state, "red")), Text("\n".join(filter(None, lines)))
        )
    return table


def _needs_a_look(job: JobResult) -> bool:
    return job.state not in NOT_LISTED or (job.state == "done" and job.reason != "")


def failed_first(job: JobResult) -> int:
    """Return a sort key: failed jobs first, then those in the order of `IN_ORDER`, then all others."""
    order = ["failed", *IN_ORDER, "all others"]
    state = "all others" if job.state in NOT_LISTED else job.state
    return order.index(state) if state in order else 0


def _left_out(rows: int, what: str) -> Iterable[Text]:
    if rows > MAX_ROWS:
        yield Text(f"… and {counted(rows - MAX_ROWS, what)}: results.csv has all jobs", style="italic")


def numbers(jobs: Sequence[JobResult]) -> str:
    """Return the numbers of the first jobs that are done; the others have a table of their own."""
    done = [str(job.number) for job in jobs if job.state == "done"]
    return " ".join(done if len(done) <= MAX_JOBS else [*done[: MAX_JOBS - 1], "…"])


def count(sweep: SweepResults) -> str:
    """Return the number of jobs, in all and by state."""
    states = Counter(job.state for job in sweep.jobs)
    jobs = counted(len(sweep.jobs), "job")
    return f"{jobs}: " + ", ".join(f"{number:,} {state}" for state, number in states.most_common())


def verdict(ranking: Ranking) -> str:
    """Return a line with the best group, its validation result and its test result."""
    best, metric = ranking.best, ranking.metric
    if not metric:
        return "There is no metric to rank by."
    if best is None:
        has = any(group.of(metric) for group in ranking.groups)
        return f"no job {f'has a finite {printable(metric)}' if has else f'is done and has {printable(metric)}'} yet"
    test = best.of(ranking.test)
    beside = f", test {value(ranking.test, test, ranking.percent)}" if test else ""
    name = "val" if metric.startswith("val/") else printable(metric)
    jobs = f"n={best.n}, job{'' if len(best.done) == 1 else 's'} {numbers(best.jobs)}"
    chosen = value(metric, best.of(metric), ranking.percent)
    return f"best by {printable(metric)}: {name_of(best)} ({jobs}): {name} {chosen}{beside}{_ties(ranking)}"


def _ties(ranking: Ranking) -> str:
    others = ranking.as_good
    have = "has" if others == 1 else "have"
    return f"; {counted(others, 'other')} {have} the same {printable(ranking.metric)}" if others else ""


def name_of(group: Group) -> str:
    """Return the parameters that a group's jobs have in common."""
    unknown = "all jobs" if group.jobs[0].comparable else "unknown parameters"
    return parameters_text(group.parameters) or unknown


def parameters_text(parameters: dict[str, Any]) -> str:
    """Return parameters as on the command line, with long values shortened."""
    return printable(" ".join(f"{key}={brief(each)}" for key, each in parameters.items()))


def overrides_text(words: Iterable[str]) -> str:
    """Return overrides with shortened values, as `brief`."""
    parts = (word.partition("=") for word in words)
    return " ".join(f"{key}{equals}{brief(read_value(each))}" for key, equals, each in parts)


def brief(plain: Any) -> str:
    """Return a parameter's value with at most four digits or `MAX_VALUE_LENGTH` characters."""
    if isinstance(plain, float):
        digits = f"{plain:.4g}"
        return f"{digits}.0" if digits.lstrip("-").isdigit() else digits  # 1.0 is all of an epoch, and 1 one batch
    whole = text(plain)
    return whole if len(whole) <= MAX_VALUE_LENGTH else f"{whole[: MAX_VALUE_LENGTH - 1]}…"


def value(name: str, statistic: Statistic | None, percent: Iterable[str]) -> str:
    """Return mean ± sample standard deviation; in percent for the metrics of `percent`, "nan" if it is not finite."""
    if statistic is None:
        return ""
    if not math.isfinite(statistic.mean):
        return "nan"
    mean, std = statistic.mean, statistic.std
    if is_percent(name, percent):
        return f"{100 * mean:.2f} %" if std is None else f"{100 * mean:.2f} ± {100 * std:.2f} %"
    if not std:
        return f"{mean:.4g}" if std is None else f"{mean:.4g} ± 0"
    decimals = min(max(1 - math.floor(math.log10(std)), 0), 12)  # the first two digits of the spread
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def duration(seconds: float | None) -> str:
    """Return seconds as text, such as 4.2 s or 0:03:12; empty if they are not known."""
    if seconds is None or not 0 <= seconds < 1e9:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
