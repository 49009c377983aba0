"""Check of the first batch, before anything is computed from it."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lab_engine.training.interface import ChecksBatch


class CheckFirstBatch(Callback):
    """Calls the `check_batch(batch)` of a task that has one, with the first batch of training or of `evaluate`."""

    def __init__(self) -> None:
        self._checked = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Check it, if it is the first."""
        if not self._checked:
            self._check(pl_module, batch)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Check it, if it is the first."""
        if not self._checked:
            self._check(pl_module, batch)

    def _check(self, module: LightningModule, batch: Any) -> None:
        self._checked = True
        if isinstance(module, ChecksBatch):
            module.check_batch(batch)
