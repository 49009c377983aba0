"""The training of a network, from its data to its metrics."""

from typing import Any

from lightning.pytorch import seed_everything

from lab_engine.runs.training_run import TrainingRun
from lab_engine.training.build import build_data, build_task, facts_of


def train(config: dict[str, Any]) -> dict[str, Any]:
    """Train, choose the best checkpoint on validation data, test it once.

    With several devices, each process calls this. A run whose folder holds `checkpoints/last.ckpt` resumes from it.

    Args:
        config: checked; see `conf/train.yaml`.

    Returns:
        What is written to `metrics.json`: `test/…` and `val/…` of the chosen checkpoint, as the task logs them, and
        `train/seconds` and `train/steps`: the time in training steps, without validation.
    """
    run = TrainingRun(config, "lenet_lab")
    config = run.config
    seed_everything(config["seed"], verbose=False)

    data = build_data(config)
    facts = facts_of(data, config)  # such as the number of classes, which the network asks for by `from_data`
    task = build_task(config, facts)
    trainer = run.build_trainer(data, task, facts)
    run.announce(data, task, trainer)

    with run.resumable():
        trainer.fit(task, datamodule=data, ckpt_path=run.resume_from, weights_only=True)
        run.load_best(task, trainer)
        metrics = run.measure(task, data, trainer)
        run.finish(metrics, task, data, trainer)
    return metrics
