"""When TensorBoard gets its pictures."""

import logging
import time
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from lab_engine.config.explain import one_line
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.tasks.classification import Classifier
from lenet_lab.views.dashboard import Pictures, Seen

log = logging.getLogger(__name__)

SECONDS_TO_DRAW = 0.5  # assumed until it has been measured


class Dashboard(Callback):
    """Draws after a validation, and after the test, where there is TensorBoard; does nothing else.

    Args:
        share: of the time since training began that pictures of validation may take, 0 to 1. With short epochs some
            validations go without; 1 draws after each. The test always has its pictures.
    """

    def __init__(self, share: float = 0.02) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: give a number from 0 to 1")
        self.share = share
        self._whole = True  # each device has the network: one alone can run it
        self._watches = False
        self._pictures: Pictures | None = None
        self._data: ImageDataModule
        self._seen: Seen | None = None
        self._began = time.perf_counter()
        self._spent = self._seconds = 0.0
        self._last = SECONDS_TO_DRAW

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check whether TensorBoard is among the loggers; the first process writes to it, and all must help."""
        found = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if stage == "fit" and not self._can_draw(trainer, pl_module):
            if found:
                log.info("TensorBoard gets curves only: this task offers no pictures.")
        elif stage == "fit":
            self._whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
            self._data = data = trainer.datamodule  # type: ignore[attr-defined]
            self._watches = bool(found)
            if found and trainer.is_global_zero:
                self._pictures = Pictures(found[0].experiment, data.train.classes, data.normalize)

    @staticmethod
    def _can_draw(trainer: Trainer, module: LightningModule) -> bool:
        return isinstance(module, Classifier) and isinstance(trainer.datamodule, ImageDataModule)  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what stays the same, and start the clock."""
        self._began = time.perf_counter()
        if self._pictures is not None:
            image = torch.from_numpy(self._data.train.images[self._data.validation_rows[:1]]).to(pl_module.device)
            image = self._data.prepare(image, training=False)
            self._pictures.begin(self._network(pl_module), image)
            self._spent = time.perf_counter() - self._began

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch if there is time for pictures; the first device decides for all of them."""
        if self._watches and trainer.state.fn == TrainerFn.FITTING:
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
            self._draw("val", pl_module, trainer.global_step - 1)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch."""
        self._begin_to_watch(pl_module, self._watches)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *rest: int
    ) -> None:
        """Watch."""
        self._watch(batch, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._draw("test", pl_module, trainer.global_step)

    def _network(self, module: LightningModule) -> nn.Module | None:
        return cast(Classifier, module).network if self._whole else None

    def _begin_to_watch(self, module: LightningModule, wanted: bool) -> None:
        self._seen = Seen(len(self._data.train.classes), module.device) if wanted else None
        self._seconds = 0.0

    def _watch(self, batch: Any, outputs: Any) -> None:
        if self._seen is not None:  # then the task is a Classifier
            started = time.perf_counter()
            images, labels = batch
            self._seen.update(images, labels, outputs)
            self._seconds += time.perf_counter() - started

    def _draw(self, stage: str, module: LightningModule, step: int) -> None:
        """Draw what has been seen, if anything; before the metrics are reset."""
        if self._seen is None:
            return
        started = time.perf_counter()
        confusion, counts = cast(Classifier, module).metrics.confusion.compute(), self._seen.counts()
        if self._pictures is not None:
            try:
                self._pictures.draw(stage, self._seen, confusion, counts, self._network(module), step)
            except Exception as error:  # a run of hours is worth more than its pictures
                log.warning("TensorBoard's pictures of step %d are missing: %s", step, one_line(error))
        self._seen = None
        self._last = self._seconds + time.perf_counter() - started
        self._spent += self._last
