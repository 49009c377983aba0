"""The last optimizer step of an epoch, where gradients are accumulated."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer


class RescaleLastStep(Callback):
    """Has the last step of an epoch follow the mean of its batches, also where they are fewer than those of others.

    Lightning divides each batch's loss by `trainer.accumulate_grad_batches`, so three batches of eight would make a
    step of three eighths.
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
    """Return whether a callback changes how many batches make a step."""
    return isinstance(callback, GradientAccumulationScheduler)
