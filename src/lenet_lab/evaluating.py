"""The evaluation of a checkpoint on test data."""

from pathlib import Path
from typing import Any

from lab_engine.artifacts.checkpoint import read_metadata
from lab_engine.artifacts.results import measured, write_metrics
from lab_engine.config.check import check_with_taken
from lab_engine.training import terminal
from lab_engine.training.build import build_data, build_trainer, facts_of
from lab_engine.training.callbacks.check_first_batch import CheckFirstBatch
from lab_engine.training.callbacks.progress import EvaluationBar
from lab_engine.training.callbacks.sync_metrics import SyncMetrics
from lab_engine.training.from_checkpoint import build_trained, check_facts, checkpoint_path, fill_in
from lab_engine.training.run_display import show_metrics, show_run
from lenet_lab.schema import EvaluateConfig


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the task and data that the checkpoint records, and check the configuration."""
    path = checkpoint_path(config)
    fill_in(config, path, EvaluateConfig)
    trainer = config.get("trainer")
    if isinstance(trainer, dict) and trainer.get("precision") in (None, "auto"):
        trainer["precision"] = read_metadata(path).precision
    return check_with_taken(config, EvaluateConfig)


def evaluate(config: dict[str, Any]) -> dict[str, Any]:
    """Evaluate on this device, from a checked configuration; with several devices, each process calls this.

    Returns:
        What is written to `metrics.json`: `test/…`, as the task logs it.
    """
    folder, checkpoint = Path(config["folder"]), Path(config["checkpoint"])
    terminal.open_log(folder / "evaluate.log", "lenet_lab")
    data = build_data(config)
    facts = facts_of(data, config)
    check_facts(config, facts, checkpoint)
    task = build_trained(config, facts, checkpoint)
    trainer = build_trainer(config, data, callbacks=[SyncMetrics(), CheckFirstBatch(), EvaluationBar()], loggers=[])
    show_run("lenet_lab evaluate", config, data, task, trainer)
    trainer.test(task, datamodule=data, verbose=False)
    metrics = measured(trainer)
    if trainer.is_global_zero:
        write_metrics(folder, metrics)
        show_metrics(task, metrics, "test", config["task"].get("percent", ()))
        terminal.show_results(folder)
    return metrics
