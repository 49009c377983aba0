"""What a run tells its loggers once: hyperparameters as it begins, results as it ends."""

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
    """Log what `hyperparameters` gives; not again to a run of MLflow that goes on, where nothing may change."""
    values, note = hyperparameters(config), Path(config["folder"], MLFLOW_RUN)
    for logger in loggers:
        if isinstance(logger, MLFlowLogger) and note.exists() and note.read_text().strip() == logger.run_id:
            continue
        logger.log_hyperparams(values)
        if isinstance(logger, MLFlowLogger):
            atomic_write(note, f"{logger.run_id}\n")


def begin_at(loggers: Sequence[Logger], step: int) -> None:
    """Inform loggers, before they begin, after how many optimizer steps: what they have of later ones comes again.

    Of a run that begins anew, too: it may have been cut off before there was a checkpoint.
    """
    from lab_engine.training.loggers.tensorboard import TensorBoard  # the others find out by themselves

    for logger in loggers:
        if isinstance(logger, TensorBoard):
            logger.begin_at(step)


def log_results(loggers: Sequence[Logger], metrics: Mapping[str, float], chosen: bool, step: int) -> None:
    """Log the results of the run, and end the loggers.

    Args:
        loggers: of the run; closed afterwards.
        metrics: as in `metrics.json`.
        chosen: they are of the checkpoint that was chosen by validation. Its `val/…` go by `best/val/…`, for `val/…`
            is a curve.
        step: optimizer steps of the run.
    """
    overall = {key: value for key, value in metrics.items() if key.count("/") == 1 and not key.endswith(f"/{COUNT}")}
    results = {key: value for key, value in overall.items() if key.startswith("test/")}
    results |= {f"best/{key}": value for key, value in overall.items() if key.startswith("val/") and chosen}
    for logger in loggers:
        logger.log_metrics(results, step)
        logger.save()
    _end(loggers, "finished")  # not "success", which Lightning says whenever training ends


@contextmanager
def ended_on_failure(loggers: Sequence[Logger]) -> Iterator[None]:
    """End loggers when something fails, those too that Lightning does not know of."""
    try:
        yield
    except BaseException:
        _end(loggers, "failed")
        raise


def _end(loggers: Sequence[Logger], status: str) -> None:
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):  # whose run Lightning leaves open
            logger.experiment.finish(exit_code=0 if status == "finished" else 1)
