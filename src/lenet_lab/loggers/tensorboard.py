"""Curves, and what runs are compared by, in TensorBoard."""

import threading
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams


class TensorBoard(TensorBoardLogger):
    """Lightning's, whose tab HPARAMS lists a run from its beginning, and with its results; arguments as there."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = _print_unless_passed_on

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Write them, flat; the results come later, and until then Lightning would show a metric of -1."""
        self.hparams = dict(params)
        # Not the first summary, of the experiment: without, TensorBoard works out what differs, from all runs.
        _, start, _ = hparams(self.hparams, {})  # type: ignore[no-untyped-call]
        self._add(start)

    def begin_at(self, step: int) -> None:
        """Have readers pass over what an interrupted run has written of this step and later ones: it comes again."""
        self._kwargs["purge_step"] = step

    @rank_zero_only
    def save(self) -> None:
        """Write what waits to be written, too: a run may be killed, and goes on behind it."""
        super().save()
        self.experiment.flush()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write all but the epoch, which Lightning adds: a straight line, and the first of all charts."""
        super().log_metrics({key: value for key, value in metrics.items() if key != "epoch"}, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the file; mark a run that has its results as ended."""
        if status == "finished":
            *_, end = hparams({}, {})  # type: ignore[no-untyped-call]
            self._add(end)
        super().finalize(status)

    def _add(self, summary: Any) -> None:
        self.experiment._get_file_writer().add_summary(summary)  # Lightning does it so, too: nothing public does


def _print_unless_passed_on(failure: threading.ExceptHookArgs) -> None:
    """Print what ends a thread, unless it is the one that writes: it passes its exception to the next who has data."""
    if type(failure.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(failure)
