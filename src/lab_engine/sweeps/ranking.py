"""Groups of jobs that differ only in their seed or fold, ranked by a metric on validation data."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab_engine.config.schema import Mode
from lab_engine.sweeps.parameters import Parameters, canonical
from lab_engine.sweeps.results import JobResult, SweepResults


@dataclass(frozen=True)
class Statistic:
    """A metric over the jobs of a group.

    Attributes:
        mean: NaN if one of the values is not finite.
        std: sample standard deviation; None for a single value.
        n: number of values.
    """

    mean: float
    std: float | None
    n: int


def summarize(values: Iterable[float]) -> Statistic | None:
    """Return mean and sample standard deviation; None if there are no values."""
    each = list(values)
    if not each:
        return None
    if not all(map(math.isfinite, each)):
        return Statistic(math.nan, None, len(each))
    try:
        return Statistic(statistics.fmean(each), statistics.stdev(each) if len(each) > 1 else None, len(each))
    except OverflowError:
        return Statistic(math.nan, None, len(each))


@dataclass(frozen=True)
class Group:
    """Jobs that differ only in keys that repeat a setting, such as their seed.

    Attributes:
        parameters: of the sweep, without the seed.
        jobs: in all states.
    """

    parameters: Parameters
    jobs: tuple[JobResult, ...]

    @property
    def done(self) -> list[JobResult]:
        """The jobs that are done, which are those that statistics count."""
        return [job for job in self.jobs if job.state == "done"]

    @property
    def n(self) -> str:
        """The number of jobs that are done, such as "3", or "2 of 3" if not all are."""
        done = len(self.done)
        return f"{done}" if done == len(self.jobs) else f"{done} of {len(self.jobs)}"

    def of(self, metric: str) -> Statistic | None:
        """Return the statistic of a metric over the jobs that are done and have it; None if there are none."""
        return summarize(job.metrics[metric] for job in self.done if metric in job.metrics)

    @property
    def seconds(self) -> float | None:
        """Mean duration of the jobs that are done, as far as it is known."""
        known = [job.seconds for job in self.done if job.seconds is not None]
        return statistics.fmean(known) if known else None


@dataclass(frozen=True)
class Ranking:
    """All groups of a sweep, the best first; those without a finite result come last.

    Attributes:
        metric: on validation data.
        mode: "max": higher is better; "min": lower is better.
        groups: in order of rank.
        percent: names, without the stage, of metrics that are fractions and shown in percent.
    """

    metric: str
    mode: Mode
    groups: tuple[Group, ...]
    percent: tuple[str, ...] = ()

    @property
    def test(self) -> str:
        """The same metric on test data, which does not affect the ranking."""
        return "test/" + self.metric.removeprefix("val/")

    @property
    def best(self) -> Group | None:
        """The first group, if it has a finite result."""
        first = self.groups[0].of(self.metric)
        return self.groups[0] if first and math.isfinite(first.mean) else None

    @property
    def as_good(self) -> int:
        """The number of other groups with the same mean as the best."""
        means = [found.mean for group in self.groups if (found := group.of(self.metric))]
        return means.count(means[0]) - 1 if means else 0


def rank(sweep: SweepResults, metric: str, mode: Mode) -> Ranking:
    """Group the jobs and rank the groups; of equal groups, the one with the first job comes first."""
    members: dict[str, list[JobResult]] = {}
    for job in sweep.jobs:
        alike = canonical(_without(sweep.repeats, job.parameters)) if job.comparable else job.folder
        members.setdefault(alike, []).append(job)
    groups = [Group(_without(sweep.repeats, jobs[0].parameters), tuple(jobs)) for jobs in members.values()]

    def place(group: Group) -> tuple[int, float]:
        result = group.of(metric)
        if result is None:
            return 2, 0
        if not math.isfinite(result.mean):
            return 1, 0
        return 0, -result.mean if mode == "max" else result.mean

    return Ranking(metric, mode, tuple(sorted(groups, key=place)), tuple(sweep.task.get("percent") or ()))


def _without(repeats: Sequence[str], parameters: Parameters) -> Parameters:
    return {key: value for key, value in parameters.items() if key not in repeats}
