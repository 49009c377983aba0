"""Check that all monitored metrics are logged, and record whether higher or lower values of each are better."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torchmetrics import Metric

from lab_engine.artifacts.results import STAGES
from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean_metric
from lab_engine.config.directions import write_directions
from lab_engine.config.schema import Mode

log = logging.getLogger(__name__)


class CheckMonitors(Callback):
    """Refuses a monitored metric that is not logged, and warns of one that is not finite.

    It also writes the directions of metrics to `task.json`.

    Args:
        folder: the run folder.
        monitor: the metric that the task names.
        directions: of metrics, by names without their stage, beside those that TorchMetrics knows.
    """

    def __init__(self, folder: str | Path, monitor: str, directions: Mapping[str, Mode]) -> None:
        self.folder = Path(folder)
        self.monitor = monitor
        self.directions = directions
        self._validated = self._warned = False
        self._epoch_ended = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check metrics of validation after the first one, before callbacks that monitor them."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and not value.isfinite() and not self._warned:
            self._warned = True
            log.warning(
                "%s is %s in epoch %d: no checkpoint can be chosen by it. Look for values that are not finite in the "
                "validation data.",
                *(self.monitor, float(value), trainer.current_epoch + 1),
            )
        if self._validated:
            return
        self._validated = True
        self._refuse_unlogged(trainer, "the first validation", of_training=False)
        if trainer.is_global_zero:
            write_directions(self.folder, {**_torchmetrics_modes(trainer), **self.directions})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check metrics of training, whose means exist after the first epoch; refuse data without a validation set."""
        is_due = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if is_due and not sum(trainer.num_val_batches):
            raise UserError(
                f"{type(trainer.datamodule).__name__} has no validation data: val_dataloader() gives none.\n"  # type: ignore[attr-defined]
                "A run chooses its checkpoint on them: return a loader with at least one batch."
            )
        if not self._epoch_ended:
            self._epoch_ended = True
            self._refuse_unlogged(trainer, "the first epoch", of_training=True)

    def _refuse_unlogged(self, trainer: Trainer, when: str, of_training: bool) -> None:
        logged = trainer.callback_metrics
        for key, metric in self._monitored(trainer):
            if metric not in logged and metric.startswith("train/") == of_training:
                raise UserError(
                    f"{key}={metric} is refused: it was not logged by the end of {when}"
                    f"{did_you_mean_metric(metric, map(str, logged))}\n"
                    f"logged: {', '.join(map(str, logged)) or 'nothing'}"
                )

    def _monitored(self, trainer: Trainer) -> Iterator[tuple[str, str]]:
        yield "task.monitor", self.monitor
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(monitor := getattr(callback, "monitor", None), str):
                yield f"{type(callback).__name__}(monitor)", monitor
        for schedule in trainer.lr_scheduler_configs:
            if schedule.reduce_on_plateau and schedule.monitor:
                yield "scheduler.monitor", schedule.monitor


def _torchmetrics_modes(trainer: Trainer) -> dict[str, Mode]:
    """Return the modes of metrics that were logged as TorchMetrics objects, by their names without the stage."""
    results = trainer.fit_loop.epoch_loop.val_loop._results
    found: dict[str, Mode] = {}
    for logged in results.values():
        higher = logged.value.higher_is_better if isinstance(logged.value, Metric) else None
        if higher is not None and logged.meta.name.startswith(STAGES):
            found[logged.meta.name.partition("/")[2]] = "max" if higher else "min"
    return found
