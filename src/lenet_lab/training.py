"""The training of a network, from its data to its metrics."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging

from lab_engine.artifacts.checkpoint import (
    describe,
    latest_checkpoint,
    load_weights,
    read_metadata,
    steps_of,
    take_up_last,
)
from lab_engine.artifacts.results import measured, write_metrics
from lab_engine.artifacts.this_environment import note_environment
from lab_engine.base.signals import Interrupted
from lab_engine.config.instantiate import build_each
from lab_engine.reports.write import write_report
from lab_engine.sweeps.job import command_of
from lab_engine.training import terminal
from lab_engine.training.build import build_data, build_task, build_trainer, facts_of
from lab_engine.training.callbacks.allowed import refuse_guesses, refuse_missing_steps, refuse_unfit
from lab_engine.training.callbacks.convolutions import OwnConvolutions
from lab_engine.training.callbacks.curves import Curves
from lab_engine.training.callbacks.end import End
from lab_engine.training.callbacks.epoch_seed import EpochSeed
from lab_engine.training.callbacks.first_batch import FirstBatch
from lab_engine.training.callbacks.learning_rates import LearningRates
from lab_engine.training.callbacks.monitors import Monitors
from lab_engine.training.callbacks.over_devices import OverDevices
from lab_engine.training.callbacks.progress import Progress
from lab_engine.training.callbacks.resume_checkpoint import ResumeCheckpoint
from lab_engine.training.callbacks.whole_steps import WholeSteps, accumulates
from lab_engine.training.interface import HasFingerprint
from lab_engine.training.loggers.build import build_loggers
from lab_engine.training.loggers.summary import begin_at, ended_on_failure, log_hyperparameters, log_results
from lab_engine.training.run_display import show_metrics, show_run
from lab_engine.training.speed import resolve_auto


def train(config: dict[str, Any]) -> dict[str, Any]:
    """Train, choose the best checkpoint on validation data, test it once.

    With several devices, each process calls this. A run whose folder holds `checkpoints/last.ckpt` goes on from it.

    Returns:
        What is written to `metrics.json`: `test/…` and `val/…` of the chosen checkpoint, as the task logs them, and
        `train/seconds` and `train/steps`: the time in training steps, without validation.
    """
    folder = Path(config["folder"])
    terminal.open_log(folder / "train.log", "lenet_lab")
    seed_everything(config["seed"], verbose=False)
    last = take_up_last(folder)
    config = resolve_auto(config, None if last is None else read_metadata(last).precision)

    data = build_data(config)
    facts = facts_of(data, config)
    task = build_task(config, facts)
    progress = Progress(config["task"].get("percent", ()))
    named = build_each(config["callbacks"], "callbacks")
    own = list(named.values())
    refuse_missing_steps(task, data)
    refuse_unfit(own, task)
    refuse_guesses(named, config["callbacks"], config["task"])
    watching = [OverDevices(), FirstBatch(), Monitors(folder, config["task"]), LearningRates()]
    callbacks = [EpochSeed(config["seed"]), *watching, *own, progress]
    if config["trainer"]["max_steps"] != -1 or config["trainer"]["check_val_every_n_epoch"] > 1:
        callbacks.insert(0, End())
    if config["trainer"]["accumulate_grad_batches"] > 1 or any(map(accumulates, own)):
        callbacks.insert(0, WholeSteps())
    callbacks.append(Curves(folder, progress))
    callbacks.sort(key=lambda each: isinstance(each, ResumeCheckpoint))  # the last one: it keeps what the others know
    if not config["speed"]["onednn"]:
        callbacks.append(OwnConvolutions())
    loggers = build_loggers(config)
    begin_at(loggers, 0 if last is None else steps_of(last))
    trainer = build_trainer(config, data, callbacks, loggers, describe(config, facts))
    show_run("lenet_lab train", config, data, task, trainer)
    if last is not None:
        terminal.show_goes_on(last, steps_of(last))
    if trainer.is_global_zero:
        fingerprint = data.fingerprint() if isinstance(data, HasFingerprint) else ""
        alone = command_of(folder, "lenet_lab.train")
        note_environment(folder, "lenet_lab", trainer.strategy.root_device, config, fingerprint, alone)

    log_hyperparameters(trainer.loggers, config)
    try:
        with ended_on_failure(loggers):
            trainer.fit(task, datamodule=data, ckpt_path=last, weights_only=True)
        chooses = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
        best = chooses[0].best_model_path if chooses else ""
        return _conclude(config, data, task, trainer, best, progress)
    except Interrupted:
        kept = latest_checkpoint(folder)
        terminal.show_how_to_go_on("lenet_lab.train", folder, 0 if kept is None else steps_of(kept))
        raise


def _conclude(
    config: dict[str, Any],
    data: LightningDataModule,
    task: LightningModule,
    trainer: Trainer,
    best: str,
    progress: Progress,
) -> dict[str, Any]:
    """Measure the chosen checkpoint `best`, or where there is none the weights as they are; write and show that.

    Returns:
        As `train`.
    """
    folder = Path(config["folder"])
    if best:
        load_weights(task, Path(best))
    else:
        terminal.show("No checkpoint was chosen on validation data: the last weights are tested.")
    loggers, trainer.loggers = trainer.loggers, []  # the curves end with training: these are one-off figures
    # best.ckpt holds the averaged weights; Lightning would measure its last average in their place
    trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, WeightAveraging)]  # type: ignore[attr-defined]
    with ended_on_failure(loggers):
        trainer.validate(task, datamodule=data, verbose=False)
        metrics = measured(trainer)
        trainer.test(task, datamodule=data, verbose=False)
        metrics |= measured(trainer)
    metrics |= {"train/seconds": round(progress.seconds, 3), "train/steps": progress.steps}
    if trainer.is_global_zero:
        if config.get("report", True):  # first: a run that has metrics is done, and left in peace
            write_report(config, data, task, metrics, best)
        write_metrics(folder, metrics)
        log_results(loggers, metrics, bool(best), trainer.global_step)
        show_metrics(task, metrics, "test", config["task"].get("percent", ()))
        terminal.show_results(folder)
        terminal.show_next_steps("lenet_lab.evaluate", folder, best, config)
    return metrics
