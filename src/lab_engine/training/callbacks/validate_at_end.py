"""Validation at the end of training, for each limit that may end it."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class ValidateAtEnd(Callback):
    """Validates the final weights, also if `max_steps` or `check_val_every_n_epoch` would end training without it."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check a resumed epoch: Lightning does not call `on_train_epoch_start` for it again."""
        self._validate_last_epoch(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check whether this is the last epoch."""
        self._validate_last_epoch(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check whether this was the last step."""
        if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning then validates
            trainer.check_val_every_n_epoch = 1

    def _validate_last_epoch(self, trainer: Trainer) -> None:
        if trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1
