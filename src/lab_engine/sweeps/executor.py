"""Which job runs when: the next one starts as soon as there is a place for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lab_engine.sweeps.job import Job, State

SECONDS_BETWEEN_LOOKS = 0.5  # at what the running jobs report

STOPPED: tuple[State, str] = ("interrupted", "the sweep was stopped")
"""State and reason of what ran when the sweep came to its end before them."""


class Executor(Protocol):
    """Where jobs run. Each writes its own `job.json`; an executor does so for those that could not."""

    def expect(self, jobs: int, trainer: Mapping[str, Any] | None = None) -> None:
        """Learn how many there will be at most, and `trainer` of the job with the most devices, if that is known."""
        ...

    def prepare(self, modules: Sequence[str]) -> None:
        """Import what every job needs, where that can be done once for all of them."""
        ...

    def check(self, job: Job) -> None:
        """Refuse a job that could not run here, before any is started.

        Raises:
            UserError: it asks for what there is not.
        """
        ...

    @property
    def places(self) -> int:
        """How many more jobs can start now."""
        ...

    def start(self, job: Job) -> None:
        """Start it; what it prints goes to the log in its run folder."""
        ...

    def wait(self, seconds: float) -> list[Job]:
        """Return those that have ended since the last call; wait up to `seconds` for the first."""
        ...

    def stop(self, job: Job, state: State, reason: str) -> None:
        """End it now and note that state, unless it has just ended by itself; `wait` will give it."""
        ...

    def close(self) -> None:
        """Stop all that still runs, note `STOPPED`, and free what the executor holds."""
        ...


class Plan(Protocol):
    """What is to run: a grid knows it from the start, a search learns as it goes."""

    def next(self) -> Job | None:
        """Return the next to start, or None: nothing more, or nothing until one of those that run has ended."""
        ...

    def look(self, job: Job) -> str:
        """Look at what a running job has reported; a reason to prune it, or nothing."""
        ...

    def ended(self, job: Job) -> None:
        """Record that it has ended; `job.json` says how."""
        ...


def run(plan: Plan, executor: Executor, told: Callable[[Job], None] = lambda job: None) -> None:
    """Run all that `plan` gives; whatever happens to a job, the others go on.

    Args:
        plan: what to run.
        executor: where.
        told: called with each job that has ended, after `plan` has taken note of it.
    """
    running: list[Job] = []
    while True:
        while executor.places > 0 and (job := plan.next()) is not None:
            executor.start(job)
            running.append(job)
        if not running:
            return
        for job in executor.wait(SECONDS_BETWEEN_LOOKS):
            running.remove(job)
            plan.ended(job)
            told(job)
        for job in running:
            if reason := plan.look(job):
                executor.stop(job, "pruned", reason)
