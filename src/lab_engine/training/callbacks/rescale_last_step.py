"""The last optimizer step of an epoch with accumulated gradients."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer


class RescaleLastStep(Callback):
    """Scales the gradients of an epoch's last step to the mean over its batches, if it has fewer than other steps.

    Lightning divides each batch's loss by `trainer.accumulate_grad_batches`: with three batches in place of eight, the
    gradients would be three eighths of their mean.
    """

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Scale the gradients, before they are clipped."""
        accumulated = trainer.accumulate_grad_batches
        if accumulated == 1 or not trainer.is_last_batch or not pl_module.automatic_optimization:
            return
        rest = (trainer.fit_loop.epoch_loop.batch_idx + 1) % accumulated
        if rest:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(accumulated / rest)


def accumulates(callback: Callback) -> bool:
    """Return whether a callback may change `trainer.accumulate_grad_batches`."""
    return isinstance(callback, GradientAccumulationScheduler)
