"""A grid: all jobs are known from the start."""

from collections import deque
from collections.abc import Sequence

from lab_engine.sweeps.job import ENDED, Job, is_locked, state_now


class Grid:
    """Runs each job once, those first that no other sweep works on at the moment.

    Args:
        jobs: in the order in which they are to start; those that have ended already are passed over.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = deque(job for job in jobs if not has_ended(job))

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def next(self) -> Job | None:
        """Return the next. One that another sweep works on waits for that in its process, and is then done."""
        for _ in range(len(self._waiting)):
            if not is_locked(self._waiting[0].folder):
                break
            self._waiting.rotate(-1)
        return self._waiting.popleft() if self._waiting else None

    def look(self, job: Job) -> str:
        """Prune nothing."""
        return ""

    def ended(self, job: Job) -> None:
        """Learn nothing from it."""


def has_ended(job: Job) -> bool:
    """Return whether there is nothing left to do for it."""
    return state_now(job.folder) in ENDED
