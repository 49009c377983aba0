"""The learning rates of a run, as curves."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

NAME = "train/learning_rate"


class LearningRates(Callback):
    """Logs the rate that each report's last step is made with, of each optimizer and group of parameters.

    Lightning's LearningRateMonitor writes to loggers only, and refuses a run without one.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log them where a report is due."""
        steps = trainer.fit_loop.epoch_loop._batches_that_stepped  # as Lightning counts for its loggers
        if (steps + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for name, rate in rates_of(trainer.optimizers).items():
                pl_module.log(name, rate)


def rates_of(optimizers: Sequence[Optimizer]) -> dict[str, float]:
    """Return learning rates by the names of their curves.

    A single one has no more to its name. Of several optimizers each has its number, of several groups of parameters
    each has the name that its optimizer gives it, or its number.
    """
    rates: dict[str, float] = {}
    for number, optimizer in enumerate(optimizers):
        of_optimizer = f"/{number}" if len(optimizers) > 1 else ""
        for place, group in enumerate(optimizer.param_groups):
            of_group = f"/{group.get('name', place)}" if len(optimizer.param_groups) > 1 else ""
            if "lr" in group:
                rates[NAME + of_optimizer + of_group] = float(group["lr"])
    return rates
