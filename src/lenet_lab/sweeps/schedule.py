"""Which job runs when: the next one starts as soon as there is a place for it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lenet_lab.sweeps.job import Job, State

SECONDS_BETWEEN_LOOKS = 0.5  # at what the running jobs report

STOPPED: tuple[State, str] = ("interrupted", "the sweep was stopped")
"""State and reason of what ran when the sweep came to its end before them."""

Batch = tuple[Job, ...]
"""Jobs that run in one process: one, unless several networks are trained together."""


class Executor(Protocol):
    """Where jobs run. Each writes its own `job.json`; an executor does so for those that could not."""

    def expect(self, batches: int, trainer: Mapping[str, Any] | None = None) -> None:
        """Learn how many there will be at most, and `trainer` of the job with the most devices, if that is known."""
        ...

    def check(self, job: Job) -> None:
        """Refuse a job that could not run here, before any is started.

        Raises:
            UserError: it asks for what there is not.
        """
        ...

    @property
    def places(self) -> int:
        """How many more batches can start now."""
        ...

    def start(self, batch: Batch) -> None:
        """Start it; what the jobs print goes to the log in their run folders."""
        ...

    def wait(self, seconds: float) -> list[Batch]:
        """Give those that have ended since the last call; wait up to `seconds` for the first."""
        ...

    def stop(self, batch: Batch, state: State, reason: str) -> None:
        """End it now and note that state, unless a job of it has just ended by itself; `wait` will give it."""
        ...

    def close(self) -> None:
        """Stop all that still runs, note `STOPPED`, and free what the executor holds."""
        ...


class Plan(Protocol):
    """What is to run: a grid knows it from the start, a search learns as it goes."""

    def next(self) -> Batch | None:
        """Give the next to start, or None: nothing more, or nothing until one of those that run has ended."""
        ...

    def look(self, batch: Batch) -> str:
        """Look at what running jobs have reported; a reason to prune them, or nothing."""
        ...

    def ended(self, batch: Batch) -> None:
        """Take note that it has ended; `job.json` says how."""
        ...


def run(plan: Plan, executor: Executor, told: Callable[[Batch], None] = lambda batch: None) -> None:
    """Run all that `plan` gives; whatever happens to a job, the others go on.

    Args:
        plan: what to run.
        executor: where.
        told: called with each batch that has ended, after `plan` has taken note of it.
    """
    running: list[Batch] = []
    while True:
        while executor.places > 0 and (batch := plan.next()) is not None:
            executor.start(batch)
            running.append(batch)
        if not running:
            return
        for batch in executor.wait(SECONDS_BETWEEN_LOOKS):
            running.remove(batch)
            plan.ended(batch)
            told(batch)
        for batch in running:
            if reason := plan.look(batch):
                executor.stop(batch, "pruned", reason)
