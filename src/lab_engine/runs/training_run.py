"""A training run: its folder, the checkpoint it resumes from, its callbacks and loggers, and the files it writes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import Logger
from rich.text import Text

from lab_engine.artifacts.checkpoint import (
    latest_checkpoint,
    load_weights,
    metadata_of,
    read_metadata,
    recover_latest_checkpoint,
    steps_of,
)
from lab_engine.artifacts.results import measured, write_metrics
from lab_engine.artifacts.this_environment import record_environment
from lab_engine.base.signals import Interrupted
from lab_engine.reports.write import write_report
from lab_engine.training import terminal
from lab_engine.training.build import build_trainer
from lab_engine.training.callbacks.build import build_callbacks
from lab_engine.training.callbacks.progress import Progress
from lab_engine.training.interface import HasFingerprint
from lab_engine.training.loggers.build import build_loggers
from lab_engine.training.loggers.summary import begin_at, ended_on_failure, log_hyperparameters, log_results
from lab_engine.training.run_display import show_metrics, show_run
from lab_engine.training.speed import resolve_auto


class TrainingRun:
    """A training run in its folder, new or resumed; with several devices, each process has one.

    Args:
        config: checked.
        package: of the project; printed commands such as `python -m PACKAGE.evaluate` name it.

    Attributes:
        config: each `auto` of `speed` replaced by its value.
        resume_from: the checkpoint that the run resumes from; None: it is new.
        best: path of the checkpoint that was chosen on validation data; empty: none was.
    """

    def __init__(self, config: Mapping[str, Any], package: str) -> None:
        self.package = package
        self.folder = Path(config["folder"])
        terminal.open_log(self.folder / "train.log", package)
        self.resume_from = recover_latest_checkpoint(self.folder)
        precision = None if self.resume_from is None else read_metadata(self.resume_from).precision
        self.config = resolve_auto(dict(config), precision)
        if self.resume_from is not None and "model" in self.config:  # all weights are in the checkpoint
            self.config["model"] = {**self.config["model"], "init_from": None}
        self.best = ""
        self._progress = Progress(self.config["task"].get("percent", ()), self.config["task"]["monitor"])
        self._loggers: list[Logger] = []

    def build_trainer(self, data: LightningDataModule, task: LightningModule, facts: Mapping[str, Any]) -> Trainer:
        """Build the Trainer with its callbacks and loggers; `facts` are kept in checkpoints.

        Raises:
            UserError: a callback, a logger or the Trainer cannot be built, or does not fit the task or the data.
        """
        callbacks = build_callbacks(self.config, data, task, self._progress)
        self._loggers = build_loggers(self.config)
        begin_at(self._loggers, 0 if self.resume_from is None else steps_of(self.resume_from))
        return build_trainer(self.config, data, callbacks, self._loggers, metadata_of(self.config, facts))

    def announce(self, data: LightningDataModule, task: LightningModule, trainer: Trainer) -> None:
        """Print the header of the run, write `environment.json`, and log the hyperparameters."""
        show_run(f"{self.package} train", self.config, data, task, trainer)
        if self.resume_from is not None:
            terminal.show_resumed(self.resume_from, steps_of(self.resume_from))
        if trainer.is_global_zero:
            fingerprint = data.fingerprint() if isinstance(data, HasFingerprint) else ""
            record_environment(self.folder, self.package, trainer.strategy.root_device, self.config, fingerprint)
        log_hyperparameters(trainer.loggers, self.config)

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Print how to resume if the block is interrupted, and finish the loggers if it fails."""
        try:
            with ended_on_failure(self._loggers):
                yield
        except Interrupted:
            latest = latest_checkpoint(self.folder)
            steps = 0 if latest is None else steps_of(latest)
            terminal.show_resume_command(f"{self.package}.train", self.folder, steps)
            raise

    def load_best(self, task: LightningModule, trainer: Trainer) -> None:
        """Load the weights of the checkpoint that was chosen on validation data; without one, keep them."""
        callbacks = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
        self.best = callbacks[0].best_model_path if callbacks else ""
        if self.best:
            load_weights(task, Path(self.best))
        else:
            cure = "" if callbacks else " To choose one, use callbacks=[default,…]."
            terminal.show(Text(f"No checkpoint was chosen on validation data: the last weights are tested.{cure}"))
        for each in trainer.early_stopping_callbacks:
            if each.stopped_epoch:
                terminal.show(
                    Text(f"Stopped in epoch {each.stopped_epoch + 1} by {type(each).__name__} ({each.monitor}).")
                )

    def measure(self, task: LightningModule, data: LightningDataModule, trainer: Trainer) -> dict[str, float]:
        """Measure the current weights on validation data, and once on test data.

        Returns:
            `val/…` and `test/…` as the task logs them; `train/seconds`, without validation, and `train/steps`.
        """
        trainer.loggers = []  # final metrics are not points of the learning curves
        # best.ckpt holds the averaged weights; with the callback, Lightning would measure its last average instead
        trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, WeightAveraging)]  # type: ignore[attr-defined]
        trainer.validate(task, datamodule=data, verbose=False)
        metrics = measured(trainer)
        trainer.test(task, datamodule=data, verbose=False)
        metrics |= measured(trainer)
        return metrics | {"train/seconds": round(self._progress.seconds, 3), "train/steps": self._progress.steps}

    def finish(
        self, metrics: Mapping[str, float], task: LightningModule, data: LightningDataModule, trainer: Trainer
    ) -> None:
        """Write `report.html` and then `metrics.json`, which marks the run as done, and print the results."""
        if not trainer.is_global_zero:
            return
        if self.config.get("report", True):
            write_report(self.config, data, task, metrics, self.best)
        write_metrics(self.folder, metrics)
        log_results(self._loggers, metrics, bool(self.best), trainer.global_step)
        show_metrics(task, metrics, "test", self.config["task"].get("percent", ()))
        terminal.show_results(self.folder)
        terminal.show_next_steps(f"{self.package}.evaluate", self.folder, self.best, self.config)
