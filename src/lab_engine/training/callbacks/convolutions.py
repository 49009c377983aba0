"""Which library computes the convolutions of small batches on a CPU."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class NativeConvolutions(Callback):
    """Has training steps use PyTorch's own convolutions in place of oneDNN's, and all else what it used before.

    They are faster for small batches alone (docs/speed.md), and those of validation are large. Sums are in another
    order, so the last digits differ.
    """

    _before: bool | None = None  # whether oneDNN was on; None outside of training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch oneDNN off; a run that goes on in the middle of an epoch has no `on_train_epoch_start`."""
        self._before = bool(torch.backends.mkldnn.enabled)
        _switch(False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the setting."""
        if self._before is not None:
            _switch(self._before)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch it off again where validation was in the middle of training."""
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
