"""What a run tells its loggers once: hyperparameters as it begins, results as it ends."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import Logger

from lenet_lab.hyperparameters import hyperparameters


def log_hyperparameters(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Log what `hyperparameters` gives."""
    values = hyperparameters(config)
    for logger in loggers:
        logger.log_hyperparams(values)


def begin_at(loggers: Sequence[Logger], step: int) -> None:
    """Tell loggers, before they begin, after how many optimizer steps: what they have of later ones comes again.

    Of a run that begins anew, too: it may have been cut off before there was a checkpoint.
    """
    from lenet_lab.loggers.tensorboard import TensorBoard  # the others find out by themselves

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
    results = {key: value for key, value in metrics.items() if key in ("test/loss", "test/accuracy")}
    results |= {f"best/{key}": metrics[key] for key in ("val/loss", "val/accuracy") if chosen}
    for logger in loggers:
        logger.log_metrics(results, step)
        logger.save()
        logger.finalize("finished")  # not "success", which Lightning says whenever training ends


@contextmanager
def ended_on_failure(loggers: Sequence[Logger]) -> Iterator[None]:
    """Tell loggers that Lightning does not know of when something fails."""
    try:
        yield
    except BaseException:
        for logger in loggers:
            logger.finalize("failed")
        raise
