"""Weights and gradients as TensorBoard's histograms."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim import Optimizer


class Histograms(Callback):
    """Logs histograms of each parameter after an epoch: its weights, and the gradients of the last step."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Draw the gradients, before they are cleared."""
        if trainer.is_last_batch:
            for name, parameter in pl_module.named_parameters():
                if parameter.grad is not None:
                    self._draw(trainer, f"gradients/{name}", parameter.grad)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the weights."""
        for name, parameter in pl_module.named_parameters():
            self._draw(trainer, f"weights/{name}", parameter.detach())

    def _draw(self, trainer: Trainer, name: str, values: Tensor) -> None:
        finite = values[values.isfinite()]
        for logger in trainer.loggers if len(finite) else ():  # without finite values there is no histogram
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.add_histogram(name, finite, trainer.global_step)
