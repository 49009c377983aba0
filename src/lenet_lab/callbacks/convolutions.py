"""Which library computes the convolutions of small batches on a CPU."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn


class OwnConvolutions(Callback):
    """Has training steps use PyTorch's own convolutions in place of oneDNN's, and all else oneDNN's.

    A step of 4 images takes 0.83 of the time with them, one of 8 takes 0.95 and one of 16 takes 1.46 (measured once,
    LeNet on a 2-core Intel Xeon); validation has thousands. Sums are in another order, so the last digits differ.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch oneDNN off."""
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch it on."""
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch it off again where validation was in the middle of training."""
        torch.backends.mkldnn.enabled = trainer.state.fn != TrainerFn.FITTING  # type: ignore[assignment]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch it on."""
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Switch it on."""
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]
