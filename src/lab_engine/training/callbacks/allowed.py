"""Checks of callbacks and of the methods that task and data must have."""

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

REFUSED: dict[type[Callback], str] = {
    BatchSizeFinder: "It would train with another batch size than config.yaml records. Try several: "
    "-m data.batch_size=64,128",
    LearningRateFinder: "It would train with another learning rate than config.yaml records. Search for one: "
    "-m sweeper=optuna 'optimizer.lr=tag(log,interval(0.001,0.1))'",
    StochasticWeightAveraging: "It averages weights after the last validation, so nothing would measure or save them. "
    "Take callbacks=[default,swa].",
    ProgressBar: "The program shows its own progress. Leave the callback out.",
}
"""Callbacks that a run cannot use, with the reason and what to do instead."""


def refuse_unfit(callbacks: Sequence[Callback], task: LightningModule) -> None:
    """Refuse callbacks that would train with other settings than the recorded ones, or that do not fit the task.

    Raises:
        UserError: a callback is refused; the second line says what to do instead.
    """
    for callback in callbacks:
        name = type(callback).__name__
        for kind, instead in REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"The callback {name} is refused.\n{instead}")
        if type(callback) is BaseFinetuning:
            raise UserError(f"The callback {name} is refused.\nIt is a base class: give a subclass of it.")
        if isinstance(callback, BackboneFinetuning) and not hasattr(task, "backbone"):
            raise UserError(
                f"The callback {name} freezes the task's attribute `backbone`, and {type(task).__name__} has none.\n"
                "Give the task this attribute, or freeze weights with your own subclass of BaseFinetuning."
            )


def refuse_wrong_modes(callbacks: Mapping[str, Callback], nodes: Mapping[str, Any], task: Mapping[str, Any]) -> None:
    """Refuse a callback without a configured mode whose default mode is wrong for its metric.

    Args:
        callbacks: by their names in the configuration.
        nodes: their nodes of the configuration, by the same names.
        task: the node of the task.

    Raises:
        UserError: the default is wrong, or it is not known whether higher or lower values of the metric are better.
    """
    for name, callback in callbacks.items():
        metric, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(metric, str) and mode in ("max", "min") and nodes[name].get("mode") is None:
            known = resolve_mode(f"callbacks.{name}", metric, None, task)
            default = f"the default mode={mode} of {type(callback).__name__}"
            refuse_worst(f"callbacks.{name}.monitor={metric}", default, mode, known)


def refuse_missing_steps(task: LightningModule, data: LightningDataModule) -> None:
    """Check, before training, that task and data have the methods for training, validation and test.

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
            f"{name} has no {method}(): a run trains, chooses a checkpoint on validation data, and tests it once.\n"
            "Add the method to the class."
        )
