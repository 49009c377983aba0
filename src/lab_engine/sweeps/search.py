"""A search: Optuna chooses the jobs from the results so far, and prunes trials without promise."""

import logging
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from optuna import Trial
from optuna.trial import TrialState

from lab_engine.artifacts.curves import read_curves
from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.errors import UserError
from lab_engine.base.wording import metric
from lab_engine.config.explain import explain
from lab_engine.sweeps.job import ENDED, Job, State, note_end, read_metric, read_record, state_now, write_record
from lab_engine.sweeps.space import read_space
from lab_engine.sweeps.study import SharedStudy

MakeJob = Callable[[Sequence[str], str, int], Job]
"""Composes, checks and freezes a job, from its overrides, the name of its run folder and its number."""
MAX_REFUSED = 3  # if so many first trials are all refused, the command is wrong, not the drawn values
NOT_ENDED: tuple[State, ...] = ("waiting", "running", "interrupted")


@dataclass
class _OpenTrial:
    """A trial that this process runs.

    Attributes:
        trial: in the study.
        lock: held as long as this process lives; another process may continue a trial whose lock is free.
        jobs: one for each seed.
        waiting: jobs still to start.
        running: jobs that have started and not ended.
        stopped: running jobs that were told to stop.
        reports: mean of the metric over the seeds, by epoch, as reported to the study.
        given_up: why the remaining jobs are stopped; empty while the trial may continue.
    """

    trial: Trial
    lock: FileLock
    jobs: list[Job] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    stopped: list[Job] = field(default_factory=list)
    reports: dict[int, float] = field(default_factory=dict)
    given_up: str = ""


class SearchPlan:
    """Runs the trials of a study as places become free; other processes may run trials of it at the same time.

    Trials of this sweep folder whose process was killed are continued, and their results reported to the study.

    Args:
        settings: `sweeper` of the configuration, checked.
        words: overrides as on the command line, with at least one to search over; see `lab_engine.sweeps.space`.
        folder: of the sweep; it must exist. The run folder of trial 7 is `7`, or `7/seed=1`, … for several seeds.
        make_job: see `MakeJob`; for a run folder that holds the job already, it returns that job.
        config_loader: Hydra's; needed for `GROUP=glob(…)` only.

    Raises:
        UserError: the search space, the study, the sampler or the pruner is refused.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        words: Sequence[str],
        folder: Path,
        make_job: MakeJob,
        *,
        config_loader: ConfigLoader | None = None,
    ) -> None:
        self.metric: str = settings["metric"]
        self.seeds: list[int] = settings["seeds"] or []
        self.space = read_space(words, config_loader)
        if self.seeds and any(word.lstrip("+").startswith("seed=") for word in words):
            raise UserError("seed is given twice: give sweeper.seeds or seed, not both.")
        self.make_job = make_job
        self.study = SharedStudy(settings, folder, self.space)
        self.folder = folder
        self._own = folder / ".study"  # locks of this sweep folder's trials, and its name in the study
        self._own.mkdir(exist_ok=True)
        with self.study.locked():
            self._name = _name_of(self._own / "sweep")
        self._open: dict[int, _OpenTrial] = {}
        self._refused: int | None = 0  # number of refused trials; None once a trial's jobs could be made

    @property
    def jobs(self) -> int:
        """The greatest number of jobs."""
        return self.study.trials * max(len(self.seeds), 1)

    def next(self) -> Job | None:
        """Return a waiting job of an open trial, or else of a new one; None: all trials have started."""
        while True:
            for trial in self._open.values():
                if trial.waiting:
                    trial.running.append(trial.waiting.pop(0))
                    return trial.running[-1]
            if not self._open_one():
                return None

    def look(self, job: Job) -> str:
        """Report epochs that all seeds have reached to the study; return why to stop the job, if the pruner says so."""
        trial = self._trial_of(job)
        if not trial.given_up:
            for epoch, value in self._report(trial):
                if trial.trial.should_prune():
                    _give_up(trial, f"pruned after epoch {epoch}: {self.metric} {metric(self.metric, value, ())}")
                    break
        if not trial.given_up or job in trial.stopped:
            return ""
        trial.stopped.append(job)
        return trial.given_up

    def ended(self, job: Job) -> None:
        """Report the trial's result to the study if this was its last job."""
        trial = self._trial_of(job)
        trial.running.remove(job)
        self._finish_if_ended(trial)

    def _trial_of(self, job: Job) -> _OpenTrial:
        return next(trial for trial in self._open.values() if job in trial.running)

    def _open_one(self) -> bool:
        """Continue a trial whose process has died, or start a new one; False if there is none."""
        with self.study.locked():
            trial = self._orphan()
            if trial is None:
                if self.study.is_full():
                    return False
                drawn = self.study.begin(self._name)
                lock = self._lock(drawn.number)
                lock.acquire(blocking=False)
                trial = _OpenTrial(drawn, lock)
        number = trial.trial.number
        self._open[number] = trial
        words = self.space.overrides(trial.trial.params)
        try:
            for place, seed in enumerate(self.seeds):
                which = number * len(self.seeds) + place
                trial.jobs.append(self._make([*words, f"seed={seed}"], f"{number}/seed={seed}", which))
            if not self.seeds:
                trial.jobs.append(self._make(words, str(number), number))
        except Exception as error:
            self._refuse(trial, error)
            return True
        self._refused = None
        trial.waiting = [job for job in trial.jobs if state_now(job.folder) in NOT_ENDED]
        self._finish_if_ended(trial)
        return True

    def _make(self, words: Sequence[str], name: str, number: int) -> Job:
        """Make a job; one that has failed already, unknown to the study, is not run again."""
        folder = self.folder / name
        record, failed = read_record(folder), state_now(folder) not in (*NOT_ENDED, *ENDED)
        job = self.make_job(words, name, number)
        if record and failed:
            write_record(folder, record)
        return job

    def _orphan(self) -> _OpenTrial | None:
        for frozen in self.study.running(self._name):
            lock = self._lock(frozen.number)
            if frozen.number not in self._open:
                try:
                    lock.acquire(blocking=False)
                except Timeout:  # its process is alive
                    continue
                return _OpenTrial(self.study.draw(frozen), lock, reports=dict(frozen.intermediate_values))
        return None

    def _lock(self, number: int) -> FileLock:
        return FileLock(self._own / f"{number}.lock")

    def _refuse(self, trial: _OpenTrial, error: Exception) -> None:
        """Report a trial with refused values as failed; raise the error if the command itself seems to be wrong."""
        number, reason = trial.trial.number, explain(error)
        if reason is None or any((self.folder / str(number)).rglob("job.json")):
            raise error
        self._tell(trial, failure=reason)
        logging.getLogger(__name__).warning("trial %d is not run: %s", number, " ".join(reason.splitlines()))
        if self._refused is not None:
            self._refused += 1
            if self._refused == min(MAX_REFUSED, self.study.trials):
                raise error

    def _report(self, trial: _OpenTrial) -> Iterator[tuple[int, float]]:
        """Report new epochs to the study one by one, and yield each with its mean over the seeds."""
        curves = [
            {
                int(row["epoch"]): row[self.metric]
                for row in read_curves(job.folder / "curves.csv")
                if self.metric in row
            }
            for job in trial.jobs
        ]
        for epoch in sorted(set.intersection(*map(set, curves)) - trial.reports.keys()):
            trial.reports[epoch] = mean = fmean(curve[epoch] for curve in curves)
            trial.trial.report(mean, epoch)
            yield epoch, mean

    def _finish_if_ended(self, trial: _OpenTrial) -> None:
        """Report a trial whose jobs have all ended; if a job failed or was pruned, give up the waiting ones."""
        ends = [state_now(job.folder) for job in trial.jobs]
        values = [
            read_metric(job.folder, self.metric) if end == "done" else None
            for job, end in zip(trial.jobs, ends, strict=True)
        ]
        failure = pruned = ""
        for job, end, value in zip(trial.jobs, ends, values, strict=True):
            record = read_record(job.folder)
            reason = record.reason if record else ""
            if end == "pruned":
                pruned = pruned or trial.given_up or reason
            elif end == "done" and value is None:
                failure = failure or f"{self.metric} is missing or not finite"
            elif end != "done" and end not in NOT_ENDED:
                failure = failure or ": ".join(filter(None, (end, reason)))
        if failure or pruned:
            _give_up(trial, failure or pruned)
        left = any(state_now(job.folder) in NOT_ENDED for job in trial.jobs)  # read again after `_give_up`
        if not (trial.waiting or trial.running or left):
            list(self._report(trial))  # the last epoch may have ended after the last look
            self._tell(trial, values, failure, pruned)

    def _tell(
        self, trial: _OpenTrial, values: Sequence[float | None] = (), failure: str = "", pruned: str = ""
    ) -> None:
        known = [value for value in values if value is not None]
        if pruned and math.isnan(trial.reports[max(trial.reports)] if trial.reports else 0.0):
            failure = failure or f"{self.metric} is not finite"
        state = TrialState.FAIL if failure else TrialState.PRUNED if pruned else TrialState.COMPLETE
        with self.study.locked():  # so that no other process takes the trial over between these lines
            value = fmean(known) if state == TrialState.COMPLETE else None
            self.study.tell(trial.trial, state, value, failure or pruned)
            trial.lock.release()
            Path(trial.lock.lock_file).unlink(missing_ok=True)
        del self._open[trial.trial.number]


def _give_up(trial: _OpenTrial, reason: str) -> None:
    """Start no more jobs of a trial; `SearchPlan.look` stops the running ones."""
    trial.given_up = trial.given_up or reason
    for job in trial.waiting:
        note_end(job, "pruned", f"its trial was given up: {trial.given_up}")
    trial.waiting.clear()


def _name_of(file: Path) -> str:
    """Return the unique name of a sweep folder from a file in it, so that the name stays when the folder is moved."""
    if not file.exists():
        atomic_write(file, f"{uuid.uuid4().hex}\n")
    return file.read_text(encoding="utf-8").strip()
