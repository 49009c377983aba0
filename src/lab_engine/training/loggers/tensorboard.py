"""Curves, and what runs are compared by, in TensorBoard."""

import re
import threading
import time
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

EVENTS = re.compile(r"events\.out\.tfevents\.(\d{10})(\..*)")
"""Name of a file of events: the second in which it was begun, then the machine, the process and a number."""


class TensorBoard(TensorBoardLogger):
    """Lightning's, whose tab HPARAMS lists a run from its beginning, and with its results; arguments as there."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = _print_unless_passed_on

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """What writes; it makes its file when it is first asked for."""
        if self._experiment is None:
            put_first(Path(self.log_dir))
        writer: SummaryWriter = super().experiment
        return writer

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Write them, flat; the results come later, and until then Lightning would show a metric of -1."""
        self.hparams = dict(params)
        # Not the first summary, of the experiment: without, TensorBoard works out what differs, from all runs.
        _, start, _ = hparams(self.hparams, {})  # type: ignore[no-untyped-call]
        self._add(start)

    def begin_at(self, step: int) -> None:
        """Make readers skip what an interrupted run has written of this step and later ones: it comes again."""
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
        """Close the file; mark a run that has its results as ended.

        Not when Lightning says "success", at the end of training: the results follow, and would get another file.
        """
        if status == "success":
            self.save()
            return
        if status == "finished":
            *_, end = hparams({}, {})  # type: ignore[no-untyped-call]
            self._add(end)
        super().finalize(status)

    def _add(self, summary: Any) -> None:
        self.experiment._get_file_writer().add_summary(summary)  # Lightning does it so, too: nothing public does


def put_first(folder: Path) -> None:
    """Rename the files of events that readers would not take before one that is begun now.

    They take them in the order of their names. Two may be of the same second, or the clock may have been set back. At
    each moment between two renames the order is right.
    """
    found = sorted(filter(None, (EVENTS.fullmatch(path.name) for path in folder.glob("events.*"))), key=itemgetter(0))
    now = int(time.time())
    for number, name in enumerate(found):
        second, rest = int(name[1]), name[2]
        latest = now - len(found) + number
        if second > latest:
            (folder / name[0]).rename(folder / f"events.out.tfevents.{latest:010d}{rest}")


def _print_unless_passed_on(failure: threading.ExceptHookArgs) -> None:
    """Print what ends a thread, unless it is the one that writes: it passes its exception to the next who has data."""
    if type(failure.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(failure)
