"""Log the learning rates of a run."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

NAME = "train/learning_rate"


class LearningRates(Callback):
    """Logs the learning rate of each optimizer and parameter group, every `log_every_n_steps` steps.

    Lightning's LearningRateMonitor writes to loggers only, and raises an error in a run without one.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log the rates of this step, if logging is due after it."""
        steps = trainer.fit_loop.epoch_loop._batches_that_stepped  # as Lightning counts for its loggers
        if (steps + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for name, rate in rates_of(trainer.optimizers).items():
                pl_module.log(name, rate)


def rates_of(optimizers: Sequence[Optimizer]) -> dict[str, float]:
    """Return learning rates by the names of their curves.

    With several optimizers the name ends in the optimizer's number; with several parameter groups, in the group's
    name, or its number if it has no name.
    """
    rates: dict[str, float] = {}
    for number, optimizer in enumerate(optimizers):
        of_optimizer = f"/{number}" if len(optimizers) > 1 else ""
        for index, group in enumerate(optimizer.param_groups):
            of_group = f"/{group.get('name', index)}" if len(optimizer.param_groups) > 1 else ""
            if "lr" in group:
                rates[NAME + of_optimizer + of_group] = float(group["lr"])
    return rates
