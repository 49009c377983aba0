"""What a run logs once: hyperparameters at its start, results at its end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from lab_engine.artifacts.results import COUNT
from lab_engine.base.atomic_write import atomic_write
from lab_engine.training.hyperparameters import hyperparameters
from lab_engine.training.loggers.build import MLFLOW_RUN


@rank_zero_only
def log_hyperparameters(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Log the hyperparameters; not again to a resumed run of MLflow, which refuses changed values."""
    values, file = hyperparameters(config), Path(config["folder"], MLFLOW_RUN)
    for logger in loggers:
        if (
            isinstance(logger, MLFlowLogger)
            and file.exists()
            and file.read_text(encoding="utf-8").strip() == logger.run_id
        ):
            continue
        logger.log_hyperparams(values)
        if isinstance(logger, MLFlowLogger):
            atomic_write(file, f"{logger.run_id}\n")


def begin_at(loggers: Sequence[Logger], step: int) -> None:
    """Set the optimizer step at which a run starts or resumes: TensorBoard hides points of it and of later steps.

    A run that starts at 0 needs it too: it may have been interrupted before its first checkpoint.
    """
    from lab_engine.training.loggers.tensorboard import TensorBoard  # other loggers need no step

    for logger in loggers:
        if isinstance(logger, TensorBoard):
            logger.begin_at(step)


def log_results(loggers: Sequence[Logger], metrics: Mapping[str, float], chosen: bool, step: int) -> None:
    """Log the results of the run, and finalize the loggers.

    Args:
        loggers: of the run.
        metrics: as in `metrics.json`.
        chosen: whether they are of a checkpoint that validation chose. Its `val/…` are then logged as `best/val/…`,
            because `val/…` is a curve.
        step: number of optimizer steps of the run.
    """
    overall = {key: value for key, value in metrics.items() if key.count("/") == 1 and not key.endswith(f"/{COUNT}")}
    results = {key: value for key, value in overall.items() if key.startswith("test/")}
    results |= {f"best/{key}": value for key, value in overall.items() if key.startswith("val/") and chosen}
    for logger in loggers:
        logger.log_metrics(results, step)
        logger.save()
    _finalize(loggers, "finished")  # not "success": Lightning passes that at the end of training, before the test


@contextmanager
def ended_on_failure(loggers: Sequence[Logger]) -> Iterator[None]:
    """Finalize loggers as failed if an exception is raised, also where Lightning does not."""
    try:
        yield
    except BaseException:
        _finalize(loggers, "failed")
        raise


def _finalize(loggers: Sequence[Logger], status: str) -> None:
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):  # Lightning leaves its run open
            logger.experiment.finish(exit_code=0 if status == "finished" else 1)
