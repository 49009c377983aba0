"""Which library computes the convolutions of small batches on a CPU."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class NativeConvolutions(Callback):
    """Switches oneDNN off in training steps, so that PyTorch's native convolutions run on a CPU.

    They are faster for small batches only; the batches of validation are large. They sum in another order, so results
    differ in the last digits.
    """

    _before: bool | None = None  # whether oneDNN was enabled before training; None outside of training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch oneDNN off; not in `on_train_epoch_start`, which a run resumed in the middle of an epoch skips."""
        self._before = bool(torch.backends.mkldnn.enabled)
        _switch(False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the setting for validation."""
        if self._before is not None:
            _switch(self._before)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch oneDNN off again, if training continues."""
        if self._before is not None:
            _switch(False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the setting."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the setting."""
        self._end()

    def _end(self) -> None:
        if self._before is not None:
            _switch(self._before)
            self._before = None


def _switch(on: bool) -> None:
    torch.backends.mkldnn.enabled = on  # type: ignore[assignment]
