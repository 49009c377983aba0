"""A grid: all jobs are known from the start."""

from collections import deque
from collections.abc import Sequence

from lab_engine.sweeps.job import ENDED, Job, is_locked, state_now


class Grid:
    """Runs each job once; jobs that another sweep works on come last.

    Args:
        jobs: in the order in which they start; those that are done or pruned already are left out.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = deque(job for job in jobs if not has_ended(job))

    def __len__(self) -> int:
        """Return the number of waiting jobs."""
        return len(self._waiting)

    def next(self) -> Job | None:
        """Return the next job. The process of a job that another sweep works on waits until that one has ended."""
        for _ in range(len(self._waiting)):
            if not is_locked(self._waiting[0].folder):
                break
            self._waiting.rotate(-1)
        return self._waiting.popleft() if self._waiting else None

    def look(self, job: Job) -> str:
        """Return an empty text: a grid prunes nothing."""
        return ""

    def ended(self, job: Job) -> None:
        """Ignore it: a grid does not depend on results."""


def has_ended(job: Job) -> bool:
    """Return whether a job is done or pruned."""
    return state_now(job.folder) in ENDED
