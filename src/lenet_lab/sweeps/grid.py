"""A grid: all jobs are known from the start."""

from collections import deque
from collections.abc import Sequence

from lenet_lab.sweeps.job import ENDED, Job, is_locked, state_now
from lenet_lab.sweeps.schedule import Batch


class Grid:
    """Runs each batch once, those first that no other sweep works on at the moment.

    Args:
        batches: in the order in which they are to start; jobs that have ended already are passed over.
    """

    def __init__(self, batches: Sequence[Sequence[Job]]) -> None:
        left = (tuple(job for job in batch if not has_ended(job)) for batch in batches)
        self._waiting = deque(batch for batch in left if batch)

    def __len__(self) -> int:
        """How many batches wait."""
        return len(self._waiting)

    def next(self) -> Batch | None:
        """Give the next. One that another sweep works on waits for that in its process, and is then done."""
        for _ in range(len(self._waiting)):
            if not any(is_locked(job.folder) for job in self._waiting[0]):
                break
            self._waiting.rotate(-1)
        return self._waiting.popleft() if self._waiting else None

    def look(self, batch: Batch) -> str:
        """Prune nothing."""
        return ""

    def ended(self, batch: Batch) -> None:
        """Learn nothing from it."""


def has_ended(job: Job) -> bool:
    """Tell whether there is nothing left to do for it."""
    return state_now(job.folder) in ENDED
