"""Averages of weights, beside those of Lightning."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging


class SWA(WeightAveraging):
    """Averages the weights of the ends of the last epochs, all with the same share.

    Lightning's `StochasticWeightAveraging` puts its average in place after the last validation, where nothing measures
    or saves it; the average of this one is validated after each epoch, and is what `best.ckpt` holds.

    Args:
        start: fraction of the epochs before the first one that counts, 0 to below 1.
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        if not 0 <= start < 1:
            raise ValueError(f"start={start} is refused: give a fraction from 0 to below 1")
        self.start = start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average at the end of an epoch, before its validation."""
        if trainer.is_last_batch and trainer.current_epoch >= int(self.start * (trainer.max_epochs or 0)):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class AverageFromStart(Callback):
    """Uses the current weights in place of an average that has not started yet.

    Lightning copies the weights once, before the first step, and would validate and save this copy until then.
    """

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights, before averaging callbacks show their own."""
        self._copy(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise, before they put their own in place."""
        self._copy(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Likewise, before they save their own."""
        self._copy(trainer, pl_module)

    def _copy(self, trainer: Trainer, module: LightningModule) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            average = callback._average_model if isinstance(callback, WeightAveraging) else None
            if average is not None and not average.n_averaged:
                average.module.load_state_dict(module.state_dict())
