"""Measure a checkpoint on its test images: `python -m lenet_lab.evaluate checkpoint=PATH [overrides]`."""

from pathlib import Path
from typing import Any

from lenet_lab.command import run_command
from lenet_lab.imports import import_quickly


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the checkpoint says of its model and data, and check the configuration."""
    import_quickly("torch")
    from lenet_lab.checkpoint import read_about
    from lenet_lab.from_checkpoint import checkpoint_path, fill_in
    from lenet_lab.schema import EvaluateConfig, check

    path = checkpoint_path(config)
    fill_in(config, "evaluate", ("data", "model", "test_time"), path)
    trainer = config.get("trainer")
    if isinstance(trainer, dict) and trainer.get("precision") in (None, "auto"):
        trainer["precision"] = read_about(path).precision
    return check(config, EvaluateConfig)


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Evaluate on this device, from a checked configuration; with several devices, each process calls this.

    Returns:
        What is written to `metrics.json`: `test/…`, see `lenet_lab.metrics.EvaluationMetrics.compute`.
    """
    import_quickly("lightning.pytorch")
    from lenet_lab import terminal
    from lenet_lab.build import build_data, build_trainer
    from lenet_lab.checkpoint import check_images
    from lenet_lab.classifier import Classifier
    from lenet_lab.from_checkpoint import build_trained
    from lenet_lab.instantiate import build_test_time
    from lenet_lab.metrics import write_metrics

    folder, checkpoint = Path(config["folder"]), Path(config["checkpoint"])
    terminal.open_log(folder / "evaluate.log")
    data = build_data(config)
    data.setup()
    check_images(checkpoint, data.test)
    classes = data.test.classes
    network = build_trained(config["model"], checkpoint)
    classifier = Classifier(network, classes, test_time=build_test_time(config["test_time"], data.test.image_shape))
    trainer = build_trainer(config, data, callbacks=[], loggers=[])
    terminal.show_run("evaluate", config, data, classifier, trainer)
    trainer.test(classifier, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        write_metrics(folder, classifier.results)
        terminal.show_accuracy(classifier.results, "test", classes)
        terminal.show_results(folder)
    return classifier.results


if __name__ == "__main__":
    run_command("evaluate", complete, run, paths=("checkpoint",))
