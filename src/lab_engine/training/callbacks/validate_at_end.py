"""The end of training, which is validated whichever limit brings it."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class ValidateAtEnd(Callback):
    """Validates the last weights where `max_steps` ends an epoch early, or `check_val_every_n_epoch` leaves a rest."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at an epoch that had begun before the run was interrupted: Lightning does not begin it again."""
        self._look(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether it is the last epoch."""
        self._look(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look whether it was the last step."""
        if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates then
            trainer.check_val_every_n_epoch = 1

    def _look(self, trainer: Trainer) -> None:
        if trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1
