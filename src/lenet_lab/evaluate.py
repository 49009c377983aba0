"""Measure a checkpoint on its test images: `python -m lenet_lab.evaluate checkpoint=PATH [overrides]`."""

from pathlib import Path
from typing import Any

from lenet_lab.command import run_command


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the checkpoint says of its model and data, and check the configuration.

    The checkpoint names options of `conf/model` and `conf/data` and gives values to their keys. The options' own
    files, on this machine, say which classes these are: nothing in a checkpoint can name code to run. An option
    given on the command line stands as it is.
    """
    import hydra
    from omegaconf import OmegaConf

    from lenet_lab.checkpoint import KEY, read_checkpoint
    from lenet_lab.errors import UserError
    from lenet_lab.schema import EvaluateConfig, check

    path = Path(config["checkpoint"]).expanduser().absolute()
    about = read_checkpoint(path)[KEY]
    for group in ("data", "model"):
        if config["choices"][group] != "evaluate/from_checkpoint":
            continue
        option, values = about[group]["option"], about[group]["values"]
        try:
            composed = hydra.compose("evaluate", overrides=[f"{group}={option}"])
        except hydra.errors.MissingConfigException as error:
            raise UserError(
                f"checkpoint={path} was made with {group}={option}, which is not among the options here.\n"
                f"Name the folder of its file with --config-dir=DIR, or choose another with {group}=OPTION."
            ) from error
        own: dict[str, Any] = OmegaConf.to_container(composed[group])  # type: ignore[assignment]
        given = {key: value for key, value in config[group].items() if value is not None}
        config[group] = {**own, **values, **given}
        config["choices"][group] = option
    return check(config, EvaluateConfig)


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Evaluate on this device, from a checked configuration; with several devices, each process calls this.

    Returns:
        What is written to `metrics.json`: `test/…`, see `lenet_lab.metrics.EvaluationMetrics.compute`.
    """
    from lenet_lab import terminal
    from lenet_lab.build import build_data, build_network, build_trainer
    from lenet_lab.checkpoint import check_images, load_weights
    from lenet_lab.classifier import Classifier
    from lenet_lab.metrics import write_metrics

    folder, checkpoint = Path(config["folder"]), Path(config["checkpoint"])
    terminal.open_log(folder / "evaluate.log")
    data = build_data(config)
    data.setup()
    check_images(checkpoint, data.test)
    classifier = Classifier(build_network(config["model"], data.test), data.test.classes)
    load_weights(classifier, checkpoint)
    trainer = build_trainer(config, data, callbacks=[], loggers=[])
    terminal.show_run("evaluate", config, data, classifier, trainer)
    trainer.test(classifier, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        write_metrics(folder, classifier.results)
        terminal.show_accuracy(classifier.results, "test", data.test.classes)
    return classifier.results


if __name__ == "__main__":
    run_command("evaluate", complete, run)
