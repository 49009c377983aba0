"""Build the callbacks of training: those of the configuration and the engine's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import WeightAveraging

from lab_engine.config.directions import of_metrics
from lab_engine.config.instantiate import build_each
from lab_engine.training.callbacks.allowed import refuse_missing_steps, refuse_unfit, refuse_wrong_modes
from lab_engine.training.callbacks.averaging import AverageFromStart
from lab_engine.training.callbacks.check_first_batch import CheckFirstBatch
from lab_engine.training.callbacks.check_monitors import CheckMonitors
from lab_engine.training.callbacks.convolutions import NativeConvolutions
from lab_engine.training.callbacks.curves import Curves
from lab_engine.training.callbacks.epoch_seed import EpochSeed
from lab_engine.training.callbacks.frozen import Frozen
from lab_engine.training.callbacks.learning_rates import LearningRates
from lab_engine.training.callbacks.progress import Progress
from lab_engine.training.callbacks.rescale_last_step import RescaleLastStep, accumulates
from lab_engine.training.callbacks.resume_checkpoint import ResumeCheckpoint
from lab_engine.training.callbacks.sync_metrics import SyncMetrics
from lab_engine.training.callbacks.validate_at_end import ValidateAtEnd
from lab_engine.training.interface import HasTrainingMeans
from lab_engine.training.running_means import LoggedMeans


def build_callbacks(
    config: Mapping[str, Any], data: LightningDataModule, task: LightningModule, progress: Progress
) -> list[Callback]:
    """Build the callbacks of training, in the order in which Lightning calls them.

    Args:
        config: checked, and resolved by `lab_engine.training.speed.resolve_auto`.
        data: the data to train on.
        task: the task to train.
        progress: becomes one of the callbacks.

    Raises:
        UserError: a callback cannot be built or is refused, or a method of the task or the data is missing.
    """
    named = build_each(config["callbacks"], "callbacks")
    chosen = list(named.values())
    refuse_missing_steps(task, data)
    refuse_unfit(chosen, task)
    refuse_wrong_modes(named, config["callbacks"], config["task"])
    trainer, folder = config["trainer"], Path(config["folder"])
    callbacks: list[Callback] = []
    if trainer["accumulate_grad_batches"] > 1 or any(map(accumulates, chosen)):
        callbacks.append(RescaleLastStep())
    if trainer["max_steps"] != -1 or trainer["check_val_every_n_epoch"] > 1:
        callbacks.append(ValidateAtEnd())
    directions = {**of_metrics(config.get("metrics") or {}), **(config["task"].get("directions") or {})}
    callbacks += [EpochSeed(config["seed"]), SyncMetrics(), CheckFirstBatch(), Frozen()]
    callbacks += [CheckMonitors(folder, config["task"]["monitor"], directions), LearningRates()]
    if any(isinstance(each, WeightAveraging) for each in chosen):
        callbacks.append(AverageFromStart())
    means = progress.means = task.training_means if isinstance(task, HasTrainingMeans) else LoggedMeans()
    callbacks += [means, *chosen, progress, Curves(folder, means)]
    callbacks.sort(key=lambda each: isinstance(each, ResumeCheckpoint))  # last: it saves the state of the others
    if not config["speed"]["onednn"]:
        callbacks.append(NativeConvolutions())
    return callbacks
