"""Callbacks of Lightning that do not fit a run whose configuration is its record, and what to do instead."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ProgressBar,
    StochasticWeightAveraging,
)

from lab_engine.base.errors import UserError
from lab_engine.config.directions import refuse_worst, resolve_mode

INSTEAD: dict[type[Callback], str] = {
    BatchSizeFinder: "It would train with another batch size than config.yaml says. Try some: "
    "-m data.batch_size=64,128",
    LearningRateFinder: "It would train with another learning rate than config.yaml says. Search for one: "
    "-m sweeper=optuna 'optimizer.lr=tag(log,interval(0.001,0.1))'",
    StochasticWeightAveraging: "It averages weights after the last validation, so nothing would measure or save them. "
    "Take callbacks=[default,swa].",
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


def refuse_guesses(callbacks: Mapping[str, Callback], nodes: Mapping[str, Any], task: Mapping[str, Any]) -> None:
    """Refuse a callback that was given no mode, and whose own default is another than that of its metric.

    Args:
        callbacks: by the name of each in the configuration.
        nodes: of the configuration, by the same names.
        task: of the configuration.

    Raises:
        UserError: there is one, or it is not known what is better of its metric.
    """
    for name, callback in callbacks.items():
        metric, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(metric, str) and mode in ("max", "min") and nodes[name].get("mode") is None:
            known = resolve_mode(f"callbacks.{name}", metric, None, task)
            default = f"the default mode={mode} of {type(callback).__name__}"
            refuse_worst(f"callbacks.{name}.monitor={metric}", default, mode, known)


def refuse_missing_steps(task: LightningModule, data: LightningDataModule) -> None:
    """Refuse a task or data that could be trained, and not measured after it.

    Raises:
        UserError: a method is missing.
    """
    lacking = [
        (type(given).__name__, method)
        for given, base, methods in (
            (task, LightningModule, ("training_step", "validation_step", "test_step")),
            (data, LightningDataModule, ("train_dataloader", "val_dataloader", "test_dataloader")),
        )
        for method in methods
        if getattr(type(given), method) is getattr(base, method)
    ]
    if lacking:
        name, method = lacking[0]
        raise UserError(
            f"{name} has no {method}(): a run trains, chooses its checkpoint on validation data, and tests it once.\n"
            "Add the method to the class."
        )
