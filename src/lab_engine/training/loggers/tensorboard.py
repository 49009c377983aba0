"""TensorBoardLogger with a complete HPARAMS tab and without duplicate points after a resume."""

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
"""Name of an event file: its time in seconds, then host, process and a number."""


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoardLogger; its HPARAMS tab lists a run from its start, and later with its results."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = _print_unless_raised_later

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer; its event file is created at the first access."""
        if self._experiment is None:
            rename_before_new(Path(self.log_dir))
        writer: SummaryWriter = super().experiment
        return writer

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Write flat hyperparameters without a metric; Lightning would show -1 until the results are logged."""
        self.hparams = dict(params)
        # Without the first summary, of the experiment, TensorBoard finds out from all runs which values differ.
        _, start, _ = hparams(self.hparams, {})  # type: ignore[no-untyped-call]
        self._add(start)

    def begin_at(self, step: int) -> None:
        """Make TensorBoard hide points of an interrupted run at `step` and later: they are logged again."""
        self._kwargs["purge_step"] = step

    @rank_zero_only
    def save(self) -> None:
        """Also flush: a run that is killed later resumes after these points and does not write them again."""
        super().save()
        self.experiment.flush()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write metrics without the epoch that Lightning adds: it would be a straight line in the first chart."""
        super().log_metrics({key: value for key, value in metrics.items() if key != "epoch"}, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the event file; for the status "finished", mark the run as ended.

        With "success", which Lightning passes at the end of training, only save: the results would get another file.
        """
        if status == "success":
            self.save()
            return
        if status == "finished":
            *_, end = hparams({}, {})  # type: ignore[no-untyped-call]
            self._add(end)
        super().finalize(status)

    def _add(self, summary: Any) -> None:
        self.experiment._get_file_writer().add_summary(summary)  # private, but Lightning uses it too


def rename_before_new(folder: Path) -> None:
    """Rename event files whose names would sort after that of a new one.

    Readers take event files in the order of their names, which start with a time in seconds. Two files may have the
    same second, or the clock may have been set back. The order is right after each rename.
    """
    found = sorted(filter(None, (EVENTS.fullmatch(path.name) for path in folder.glob("events.*"))), key=itemgetter(0))
    now = int(time.time())
    for number, name in enumerate(found):
        second, rest = int(name[1]), name[2]
        latest = now - len(found) + number
        if second > latest:
            (folder / name[0]).rename(folder / f"events.out.tfevents.{latest:010d}{rest}")


def _print_unless_raised_later(failure: threading.ExceptHookArgs) -> None:
    """Print the exception of a thread, unless it is the writer's: the next `add_…` call raises that one."""
    if type(failure.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(failure)
