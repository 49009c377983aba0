"""When TensorBoard gets its pictures."""

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

SECONDS_TO_DRAW = 0.5  # assumed until it has been measured


class Dashboard(Callback):
    """Draws the task's pictures after a validation, and after the test, where there is TensorBoard.

    Args:
        share: of the time since training began that pictures of validation may take, 0 to 1. With short epochs some
            validations go without; 1 draws after each. The test always has its pictures.
    """

    def __init__(self, share: float = 0.02) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: give a number from 0 to 1")
        self.share = share
        self._pictures: Pictures | None = None
        self._writer: SummaryWriter | None = None  # of the first process
        self._watches = False
        self._failed = False
        self._began = time.perf_counter()
        self._spent = self._seconds = 0.0
        self._last = SECONDS_TO_DRAW

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask for the pictures if TensorBoard is among the loggers; the first process writes, and all must help."""
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
        """Draw what stays the same, and start the clock."""
        self._began = time.perf_counter()
        if self._pictures is not None and self._writer is not None:
            self._pictures.begin(self._writer, pl_module.device)
            self._spent = time.perf_counter() - self._began

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch if there is time for pictures; the first device decides for all of them."""
        if self._pictures is not None and trainer.state.fn == TrainerFn.FITTING:
            time_so_far = time.perf_counter() - self._began
            is_due = self._spent + self._last <= self.share * time_so_far or self.share == 1
            self._begin_to_watch(pl_module, trainer.strategy.broadcast(is_due))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *rest: int
    ) -> None:
        """Watch."""
        self._watch(batch, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw; curves number the first step 0, and so do pictures."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._draw("val", trainer.global_step - 1)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch."""
        self._begin_to_watch(pl_module, True)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *rest: int
    ) -> None:
        """Watch."""
        self._watch(batch, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._draw("test", trainer.global_step)

    def _begin_to_watch(self, module: LightningModule, wanted: bool) -> None:
        self._watches, self._failed, self._seconds = wanted, False, 0.0
        if self._watches and self._pictures is not None:
            self._pictures.start(module.device)

    def _watch(self, batch: Any, outputs: Any) -> None:
        if not self._watches or self._pictures is None or self._failed:
            return
        started = time.perf_counter()
        try:
            self._pictures.update(batch, outputs)
        except Exception as error:  # a run of hours is worth more than its pictures
            self._failed = True
            log.warning("TensorBoard's pictures lack some batches: %s", one_line(error))
        self._seconds += time.perf_counter() - started

    def _draw(self, stage: str, step: int) -> None:
        """Draw what has been seen, if anything; before the metrics are reset."""
        if not self._watches or self._pictures is None:
            return
        started = time.perf_counter()
        try:
            self._pictures.draw(self._writer, stage, step)
        except Exception as error:  # as above
            log.warning("TensorBoard's pictures of step %d are missing: %s", step, one_line(error))
        self._watches = False
        self._last = self._seconds + time.perf_counter() - started
        self._spent += self._last
