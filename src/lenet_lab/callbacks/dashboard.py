"""When TensorBoard gets its pictures."""

import logging
import time
from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lenet_lab.classifier import Classifier
from lenet_lab.dashboard import Pictures, Seen
from lenet_lab.data.datamodule import Batch, ImageDataModule
from lenet_lab.explain import one_line

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
        self.step = 0
        """At which pictures are drawn, numbered as those of the curves: the first is 0."""
        self._whole = True  # each device has the network: one alone can run it
        self._watches = False
        self._pictures: Pictures | None = None
        self._data: ImageDataModule
        self._seen: Seen | None = None
        self._began = time.perf_counter()
        self._spent = self._seconds = 0.0
        self._last = SECONDS_TO_DRAW

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find TensorBoard."""
        if stage == "fit":
            self._whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
            self.open(trainer.loggers, trainer.datamodule, trainer.is_global_zero)  # type: ignore[attr-defined]

    def open(self, loggers: Sequence[Any], data: ImageDataModule, first: bool) -> None:
        """See whether TensorBoard is among the loggers; the first process writes to it, and all must help."""
        found = [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
        self._watches, self._data = bool(found), data
        if found and first:
            self._pictures = Pictures(found[0].experiment, data.train.classes, data.normalize)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the graph."""
        self.begin(cast(Classifier, pl_module))

    def begin(self, classifier: Classifier) -> None:
        """Draw what stays the same, and start the clock."""
        self._began = time.perf_counter()
        if self._pictures is not None:
            image = torch.from_numpy(self._data.train.images[self._data.validation_rows[:1]]).to(classifier.device)
            self._pictures.begin(classifier.network if self._whole else None, self._data.prepare(image, training=False))
            self._spent = time.perf_counter() - self._began

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide whether to draw; with several devices, for all of them."""
        if self._watches and trainer.state.fn == TrainerFn.FITTING:
            self.look(cast(Classifier, pl_module), trainer.strategy.broadcast(self.is_due()))

    def is_due(self) -> bool:
        """Tell whether there is time for pictures."""
        return self._spent + self._last <= self.share * (time.perf_counter() - self._began) or self.share == 1

    def look(self, classifier: Classifier, wanted: bool = True) -> None:
        """Begin to watch an evaluation that is to be drawn."""
        self._seen = Seen(len(self._data.train.classes), classifier.device) if self._watches and wanted else None
        self._seconds = 0.0

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *rest: int
    ) -> None:
        """Watch."""
        self.see(batch, outputs)

    def see(self, batch: Batch, logits: Tensor) -> None:
        """Take in float (B, C, H, W), normalized, int64 (B,), and float (B, classes)."""
        if self._seen is not None:
            started = time.perf_counter()
            self._seen.update(*batch, logits)
            self._seconds += time.perf_counter() - started

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.step = trainer.global_step - 1
            self.show("val", cast(Classifier, pl_module))

    def show(self, stage: str, classifier: Classifier) -> None:
        """Draw what has been seen, if anything; before the metrics are reset."""
        if self._seen is None:
            return
        started = time.perf_counter()
        confusion, counts = classifier.metrics.confusion.compute(), self._seen.counts()
        if self._pictures is not None:
            try:
                network = classifier.network if self._whole else None
                self._pictures.draw(stage, self._seen, confusion, counts, network, self.step)
            except Exception as error:  # a run of hours is worth more than its pictures
                log.warning("TensorBoard's pictures of step %d are missing: %s", self.step, one_line(error))
        self._seen = None
        self._last = self._seconds + time.perf_counter() - started
        self._spent += self._last

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch."""
        self.look(cast(Classifier, pl_module))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *rest: int
    ) -> None:
        """Watch."""
        self.see(batch, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self.step = trainer.global_step or self.step
        self.show("test", cast(Classifier, pl_module))
