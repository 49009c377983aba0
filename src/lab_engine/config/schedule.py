"""Learning-rate schedules, made once the optimizer and the length of the run are known."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from lightning.pytorch import Trainer
from torch.optim import Optimizer

from lab_engine.base.errors import UserError
from lab_engine.config.facts import RUN_LENGTH

RATES = ("max_lr", "base_lr")
"""Arguments of schedulers that would give the same learning rate to all groups of parameters."""


@dataclass(frozen=True)
class Schedule:
    """A learning-rate scheduler without its optimizer, built from an option of `conf/scheduler`.

    Attributes:
        make: builds the scheduler of an optimizer.
        interval: when the learning rate changes.
        monitor: metric that a scheduler such as ReduceLROnPlateau watches.
    """

    make: "partial[Any]"
    interval: Literal["step", "epoch"] = "step"
    monitor: str | None = None

    def configure(self, optimizer: Optimizer, trainer: Trainer) -> dict[str, Any]:
        """Return what `LightningModule.configure_optimizers` returns as `lr_scheduler`."""
        length: Any = trainer.max_epochs
        if self.interval == "step" and RUN_LENGTH in self.make.keywords.values():
            length = trainer.estimated_stepping_batches
            if not math.isfinite(length):
                raise UserError(
                    "The scheduler needs the length of the run, and the data have no length.\n"
                    "Give trainer.max_steps or trainer.limit_train_batches, or a number in place of run_length."
                )
            length = int(length)
        known = {key: length for key, value in self.make.keywords.items() if value == RUN_LENGTH}
        known |= {key: _of_each(self.make.keywords[key], optimizer) for key in RATES if key in self.make.keywords}
        return {"scheduler": self.make(optimizer, **known), "interval": self.interval, "monitor": self.monitor}


def _of_each(rate: Any, optimizer: Optimizer) -> Any:
    """Return the rate for each group of parameters, in the ratio of the optimizer's own rates."""
    groups, own = optimizer.param_groups, optimizer.defaults.get("lr")
    if len(groups) == 1 or not own or not isinstance(rate, int | float):
        return rate
    return [rate * float(group["lr"]) / float(own) for group in groups]
