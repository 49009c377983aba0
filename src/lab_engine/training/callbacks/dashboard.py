"""Pictures of the task in TensorBoard."""

import logging
import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

from lab_engine.config.explain import one_line
from lab_engine.training.interface import HasPictures, Pictures

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

SECONDS_TO_DRAW = 0.5  # assumed until the first pictures are drawn


class Dashboard(Callback):
    """Draws the task's pictures after validations and after the test, if TensorBoard is among the loggers.

    Args:
        share: fraction of the time since training started that pictures of validation may take, 0 to 1. With short
            epochs some validations are skipped; 1 draws after each. Pictures of the test are always drawn.
    """

    def __init__(self, share: float = 0.02) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: give a number from 0 to 1")
        self.share = share
        self._pictures: Pictures | None = None
        self._writer: SummaryWriter | None = None  # None in all processes but that of rank 0
        self._collects = False  # whether pictures of the present pass are drawn
        self._failed = False
        self._started = time.perf_counter()
        self._spent = 0.0  # seconds for all pictures
        self._seconds = 0.0  # for batches of the present pass
        self._last = SECONDS_TO_DRAW  # for the last pass, with drawing

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Get the task's pictures if TensorBoard is among the loggers; all processes draw, that of rank 0 writes."""
        found = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if stage != "fit" or not found:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._pictures = pl_module.pictures(data) if isinstance(pl_module, HasPictures) else None
        if self._pictures is None:
            log.info("TensorBoard gets curves only: this task offers no pictures.")
        elif trainer.is_global_zero:
            self._writer = found[0].experiment

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw pictures that do not change, and start the clock."""
        self._started = time.perf_counter()
        if self._pictures is not None and self._writer is not None:
            self._pictures.begin(self._writer, pl_module.device)
            self._spent = time.perf_counter() - self._started

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect batches if there is time for pictures; rank 0 decides for all processes."""
        if self._pictures is not None and trainer.state.fn == TrainerFn.FITTING:
            time_so_far = time.perf_counter() - self._started
            is_due = self._spent + self._last <= self.share * time_so_far or self.share == 1
            self._start_pass(pl_module, trainer.strategy.broadcast(is_due))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *rest: int
    ) -> None:
        """Collect the batch."""
        self._update(batch, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw; as in curves, the first step has the number 0."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._draw("val", trainer.global_step - 1)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to collect batches."""
        self._start_pass(pl_module, True)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *rest: int
    ) -> None:
        """Collect the batch."""
        self._update(batch, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._draw("test", trainer.global_step)

    def _start_pass(self, module: LightningModule, collects: bool) -> None:
        self._collects, self._failed, self._seconds = collects, False, 0.0
        if self._collects and self._pictures is not None:
            self._pictures.start(module.device)

    def _update(self, batch: Any, outputs: Any) -> None:
        if not self._collects or self._pictures is None or self._failed:
            return
        started = time.perf_counter()
        try:
            self._pictures.update(batch, outputs)
        except Exception as error:  # a failed picture must not end the run
            self._failed = True
            log.warning("TensorBoard's pictures lack some batches: %s", one_line(error))
        self._seconds += time.perf_counter() - started

    def _draw(self, stage: str, step: int) -> None:
        """Draw pictures of the pass, before the metrics are reset."""
        if not self._collects or self._pictures is None:
            return
        started = time.perf_counter()
        try:
            self._pictures.draw(self._writer, stage, step)
        except Exception as error:  # as above
            log.warning("TensorBoard's pictures of step %d are missing: %s", step, one_line(error))
        self._collects = False
        self._last = self._seconds + time.perf_counter() - started
        self._spent += self._last
