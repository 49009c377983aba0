"""Train a network, choose its checkpoint on validation data, test it once: `python -m lenet_lab.train [overrides]`.

The way from here to the loss: this file, `data/datamodule.py`, `data/loader.py`, `classifier.py`, `models/lenet.py`;
each step is done by `lean_loop.py`, which can be left out of a first reading.
Torch and Lightning are imported when the work starts, so that `--help` and a refusal need not wait for them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_lab.command import run_command
from lenet_lab.imports import import_quickly

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from lenet_lab.callbacks.progress import Progress
    from lenet_lab.classifier import Classifier
    from lenet_lab.data.datamodule import ImageDataModule


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Check the configuration; see `lenet_lab.command.run_command`."""
    from lenet_lab.extras import need_all
    from lenet_lab.schema import TrainConfig, check

    checked = check(config, TrainConfig)
    need_all(checked["logger"], "logger")
    return checked


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Do one run on this device, from a checked configuration; with several devices, each process calls this.

    A run whose folder holds `checkpoints/last.ckpt` goes on from it.

    Returns:
        What is written to `metrics.json`: `test/…` and `val/…` of the chosen checkpoint (see
        `lenet_lab.metrics.EvaluationMetrics.compute`), and `train/seconds` and `train/steps`: the time in training
        steps, without validation.
    """
    import_quickly("lightning.pytorch")
    from lightning.pytorch import seed_everything
    from lightning.pytorch.callbacks import ModelCheckpoint

    from lenet_lab import terminal
    from lenet_lab.build import build_classifier, build_data, build_trainer
    from lenet_lab.callbacks.convolutions import OwnConvolutions
    from lenet_lab.callbacks.curves import Curves
    from lenet_lab.callbacks.epoch_seed import EpochSeed
    from lenet_lab.callbacks.last import Last
    from lenet_lab.callbacks.progress import Progress
    from lenet_lab.checkpoint import find_last, read_about, steps_of, take_up_last
    from lenet_lab.environment import note_environment
    from lenet_lab.instantiate import build_each
    from lenet_lab.interruption import Interrupted
    from lenet_lab.loggers.build import build_loggers
    from lenet_lab.loggers.summary import begin_at, ended_on_failure, log_hyperparameters
    from lenet_lab.speed import settle

    folder = Path(config["folder"])
    terminal.open_log(folder / "train.log")
    seed_everything(config["seed"], verbose=False)
    last = take_up_last(folder)
    config = settle(config, None if last is None else read_about(last).precision)

    data = build_data(config)
    data.setup()
    classifier = build_classifier(config, data)
    progress = Progress()
    callbacks = [EpochSeed(config["seed"]), *build_each(config["callbacks"], "callbacks"), progress]
    callbacks.append(Curves(folder, progress))
    callbacks.sort(key=lambda each: isinstance(each, Last))  # the last one: it keeps what the others know
    if not config["speed"]["onednn"]:
        callbacks.append(OwnConvolutions())
    loggers = build_loggers(config)
    begin_at(loggers, 0 if last is None else steps_of(last))
    trainer = build_trainer(config, data, callbacks, loggers)
    terminal.show_run("train", config, data, classifier, trainer)
    if last is not None:
        terminal.show_goes_on(last, steps_of(last))
    if trainer.is_global_zero:
        note_environment(folder, "train", trainer.strategy.root_device, config, (data.train, data.test))

    log_hyperparameters(trainer.loggers, config)
    try:
        with ended_on_failure(loggers):
            trainer.fit(classifier, datamodule=data, ckpt_path=last, weights_only=True)
        chooses = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
        best = chooses[0].best_model_path if chooses else ""
        return _conclude(config, data, classifier, trainer, best, progress)
    except Interrupted:
        kept = find_last(folder)
        terminal.show_how_to_go_on(folder, 0 if kept is None else steps_of(kept))
        raise


def _conclude(
    config: dict[str, Any],
    data: "ImageDataModule",
    classifier: "Classifier",
    trainer: "Trainer",
    best: str,
    progress: "Progress",
) -> dict[str, Any]:
    """Measure the chosen checkpoint `best`, or where there is none the weights as they are; write and show that.

    Returns:
        As `run`.
    """
    from lenet_lab import terminal
    from lenet_lab.callbacks.predictions import Predictions
    from lenet_lab.checkpoint import load_weights
    from lenet_lab.loggers.summary import ended_on_failure, log_results
    from lenet_lab.metrics import write_metrics
    from lenet_lab.report.write import write_report

    folder = Path(config["folder"])
    if best:
        load_weights(classifier.network, Path(best))
    else:
        terminal.show("No checkpoint was chosen on validation data: the last weights are tested.")
    loggers, trainer.loggers = trainer.loggers, []  # the curves end with training: these are one-off figures
    predictions = Predictions() if config.get("report", True) else None
    with ended_on_failure(loggers):
        trainer.validate(classifier, datamodule=data, verbose=False)
        if predictions is not None:
            trainer.callbacks.append(predictions)  # type: ignore[attr-defined]
        trainer.test(classifier, datamodule=data, verbose=False)
    metrics = {**classifier.results, "train/seconds": round(progress.seconds, 3), "train/steps": progress.steps}
    if trainer.is_global_zero:
        if predictions is not None:  # first: a run that has metrics is done, and left in peace
            write_report(config, data, classifier, metrics, best, predictions)
        write_metrics(folder, metrics)
        log_results(loggers, metrics, bool(best), trainer.global_step)
        terminal.show_accuracy(metrics, "test", data.test.classes)
        terminal.show_results(folder)
        terminal.show_next_steps(folder, best, config["logger"])
    return metrics


if __name__ == "__main__":
    run_command("train", complete, run, resumes=True)
