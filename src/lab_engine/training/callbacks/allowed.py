"""Callbacks of Lightning that do not fit a run whose configuration is its record, and what to do instead."""

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ProgressBar,
)

from lab_engine.base.errors import UserError

INSTEAD: dict[type[Callback], str] = {
    BatchSizeFinder: "It would train with another batch size than config.yaml says. Try some: "
    "-m data.batch_size=64,128",
    LearningRateFinder: "It would train with another learning rate than config.yaml says. Search for one: "
    "-m sweeper=optuna 'optimizer.lr=tag(log,interval(0.001,0.1))'",
    ProgressBar: "The program shows its own progress. Leave it out.",
}


def refuse_unfit(callbacks: Sequence[Callback], task: LightningModule) -> None:
    """Refuse callbacks that would change what is recorded, or that the task does not fit.

    Raises:
        UserError: there is one; the second line says what to do instead.
    """
    for callback in callbacks:
        name = type(callback).__name__
        for kind, instead in INSTEAD.items():
            if isinstance(callback, kind):
                raise UserError(f"The callback {name} is refused.\n{instead}")
        if type(callback) is BaseFinetuning:
            raise UserError(f"The callback {name} is refused.\nIt is a base class: give a subclass of it.")
        if isinstance(callback, BackboneFinetuning) and not hasattr(task, "backbone"):
            raise UserError(
                f"The callback {name} freezes the task's attribute `backbone`, and {type(task).__name__} has none.\n"
                "Give the task one, or freeze weights by a callback of your own (a subclass of BaseFinetuning)."
            )
