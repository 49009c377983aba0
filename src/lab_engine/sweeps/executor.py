"""The loop that runs the jobs of a plan: the next job starts as soon as there is a place for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lab_engine.sweeps.job import Job, State

POLL_SECONDS = 0.5  # between checks of the running jobs

STOPPED: tuple[State, str] = ("interrupted", "the sweep was stopped")
"""State and reason of jobs that were running when the sweep was stopped."""


class Executor(Protocol):
    """Runs jobs. Each job writes its own `job.json`; an executor writes it for a job that was killed."""

    def expect(self, jobs: int, trainer: Mapping[str, Any] | None = None) -> None:
        """Set the greatest number of jobs, and `trainer` of the job with the most devices, if it is known."""
        ...

    def prepare(self, modules: Sequence[str]) -> None:
        """Import what every job needs, where one import can serve all of them."""
        ...

    def check(self, job: Job) -> None:
        """Refuse a job that could not run here, before any is started.

        Raises:
            UserError: it asks for devices that are not here, or in a form that the executor does not support.
        """
        ...

    @property
    def places(self) -> int:
        """How many more jobs can start now."""
        ...

    def start(self, job: Job) -> None:
        """Start a job; its output goes to the log in its run folder."""
        ...

    def wait(self, seconds: float) -> list[Job]:
        """Return the jobs that have ended since the last call; wait up to `seconds` for the first."""
        ...

    def stop(self, job: Job, state: State, reason: str) -> None:
        """Stop a job and record its state, unless it has just ended by itself; `wait` will return it."""
        ...

    def close(self) -> None:
        """Stop all running jobs, record them as `STOPPED`, and free the executor's resources."""
        ...


class Plan(Protocol):
    """Decides which job runs next: a grid knows all jobs from the start, a search chooses from results so far."""

    def next(self) -> Job | None:
        """Return the next job to start; None: there is none, or none until a running job has ended."""
        ...

    def look(self, job: Job) -> str:
        """Read the curves of a running job; return a reason to prune it, or an empty text."""
        ...

    def ended(self, job: Job) -> None:
        """Record that a job has ended; its `job.json` says how."""
        ...


def run(plan: Plan, executor: Executor, on_end: Callable[[Job], None] = lambda job: None) -> None:
    """Run all jobs of a plan; a job that fails does not stop the others.

    Args:
        plan: decides which job is next.
        executor: runs them.
        on_end: called with each job that has ended, after `plan.ended`.
    """
    running: list[Job] = []
    while True:
        while executor.places > 0 and (job := plan.next()) is not None:
            executor.start(job)
            running.append(job)
        if not running:
            return
        for job in executor.wait(POLL_SECONDS):
            running.remove(job)
            plan.ended(job)
            on_end(job)
        for job in running:
            if reason := plan.look(job):
                executor.stop(job, "pruned", reason)
