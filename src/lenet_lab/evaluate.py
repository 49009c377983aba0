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
    from hydra.errors import MissingConfigException
    from omegaconf import OmegaConf

    from lenet_lab.checkpoint import NOT_KEPT, read_about
    from lenet_lab.errors import UserError
    from lenet_lab.schema import EvaluateConfig, check

    path = Path(config["checkpoint"]).expanduser().absolute()
    about = read_about(path)
    for group, choice in (("data", about.data), ("model", about.model)):
        if config["choices"][group] != "evaluate/from_checkpoint":
            continue
        try:
            composed = hydra.compose("evaluate", overrides=[f"{group}={choice.option}"])
        except MissingConfigException as error:
            raise UserError(
                f"checkpoint={path} was made with {group}={choice.option}, which is not among the options here.\n"
                f"Name the folder of its file with --config-dir=DIR, or choose another with {group}=OPTION."
            ) from error
        own: dict[str, Any] = OmegaConf.to_container(composed[group], resolve=True)  # type: ignore[assignment]
        kept = {key: value for key, value in choice.values.items() if key not in NOT_KEPT}
        if own.get("root", "???") != "???":  # where this machine keeps its downloads is not for the file to say
            kept.pop("root", None)
        if unknown := kept.keys() - own.keys():
            raise UserError(
                f"checkpoint={path} has a setting {group}.{min(unknown)}, which {group}={choice.option} here has not.\n"
                f"It was made with another version of that option: choose one with {group}=OPTION."
            )
        given = {key: value for key, value in config[group].items() if value is not None}
        config[group] = {**own, **kept, **given}
        config["choices"][group] = choice.option
    config["trainer"]["precision"] = config["trainer"]["precision"] or about.precision
    return check(config, EvaluateConfig)


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Evaluate on this device, from a checked configuration; with several devices, each process calls this.

    Returns:
        What is written to `metrics.json`: `test/…`, see `lenet_lab.metrics.EvaluationMetrics.compute`.
    """
    from lenet_lab import terminal
    from lenet_lab.build import build_data, build_trainer
    from lenet_lab.checkpoint import check_images, load_weights
    from lenet_lab.classifier import Classifier
    from lenet_lab.instantiate import build_network
    from lenet_lab.metrics import write_metrics

    folder, checkpoint = Path(config["folder"]), Path(config["checkpoint"])
    terminal.open_log(folder / "evaluate.log")
    data = build_data(config)
    data.setup()
    check_images(checkpoint, data.test)
    classes = data.test.classes
    classifier = Classifier(build_network(config["model"], data.test.image_shape, len(classes)), classes)
    load_weights(classifier, checkpoint)
    trainer = build_trainer(config, data, callbacks=[], loggers=[])
    terminal.show_run("evaluate", config, data, classifier, trainer)
    trainer.test(classifier, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        write_metrics(folder, classifier.results)
        terminal.show_accuracy(classifier.results, "test", classes)
        terminal.show_results(folder)
    return classifier.results


if __name__ == "__main__":
    run_command("evaluate", complete, run)
