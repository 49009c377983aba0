"""Train a network, choose its checkpoint on validation data, test it once: `python -m lenet_lab.train [overrides]`.

The way from here to the loss: this file, `data/datamodule.py`, `data/loader.py`, `classifier.py`, `models/lenet.py`.
Torch and Lightning are imported when the work starts, so that `--help` and a refusal need not wait for them.
"""

from pathlib import Path
from typing import Any

from lenet_lab.command import run_command


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Check the configuration; see `lenet_lab.command.run_command`."""
    from lenet_lab.schema import TrainConfig, check

    return check(config, TrainConfig)


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Do one run on this device, from a checked configuration; with several devices, each process calls this.

    Returns:
        What is written to `metrics.json`: `test/…` and `val/…` of the chosen checkpoint (see
        `lenet_lab.metrics.EvaluationMetrics.compute`), and `train/seconds` and `train/steps`: the time in training
        steps, without validation.
    """
    from lightning.pytorch import seed_everything

    from lenet_lab import terminal
    from lenet_lab.build import build_data, build_optimizer, build_schedule, build_trainer
    from lenet_lab.callbacks.progress import Progress
    from lenet_lab.checkpoint import describe, load_weights
    from lenet_lab.classifier import Classifier
    from lenet_lab.instantiate import build_each, build_network
    from lenet_lab.metrics import write_metrics

    folder = Path(config["folder"])
    terminal.open_log(folder / "train.log")
    seed_everything(config["seed"], verbose=False)

    data = build_data(config)
    data.setup()
    classifier = Classifier(
        network=build_network(config["model"], data.train.image_shape, len(data.train.classes)),
        classes=data.train.classes,
        optimizer=build_optimizer(config["optimizer"]),
        schedule=build_schedule(config["scheduler"]),
        description=describe(config, data.train),
    )
    progress = Progress()
    callbacks = [*build_each(config["callbacks"], "callbacks"), progress]
    trainer = build_trainer(config, data, callbacks, build_each(config["logger"], "logger"))
    terminal.show_run("train", config, data, classifier, trainer)

    trainer.fit(classifier, datamodule=data)

    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best:
        load_weights(classifier, Path(best))
    else:
        terminal.show("No checkpoint was chosen on validation data: the last weights are tested.")
    trainer.loggers = []  # the curves end with training: these are one-off figures
    trainer.validate(classifier, datamodule=data, verbose=False)
    trainer.test(classifier, datamodule=data, verbose=False)
    metrics = {
        **classifier.results,
        "train/seconds": round(progress.seconds, 3),
        "train/steps": progress.steps,
    }
    if trainer.is_global_zero:
        write_metrics(folder, metrics)
        terminal.show_accuracy(metrics, "test", data.test.classes)
        terminal.show_results(folder)
        terminal.show_next_steps(folder, best)
    return metrics


if __name__ == "__main__":
    run_command("train", complete, run)
