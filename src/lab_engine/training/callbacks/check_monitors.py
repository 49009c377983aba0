"""A look at the metrics of the first validation: whether all that are watched are there, and what is better of each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torchmetrics import Metric

from lab_engine.artifacts.results import STAGES
from lab_engine.base.errors import UserError
from lab_engine.config.directions import Mode, write_directions


class CheckMonitors(Callback):
    """Refuses to watch what nothing logs, and leaves `task.json` for those who compare runs.

    Args:
        folder: the run folder.
        task: of the configuration.
    """

    def __init__(self, folder: str | Path, task: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.task = task
        self._looked = False
        self._ended = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look, before the callbacks that watch a metric do."""
        if self._looked or trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._looked = True
        self._refuse_unlogged(trainer, "the first validation", of_training=False)
        if trainer.is_global_zero:
            write_directions(self.folder, {**_of_torchmetrics(trainer), **(self.task.get("directions") or {})})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for means over an epoch, which are there only now; refuse data without a validation set."""
        is_due = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if is_due and not sum(trainer.num_val_batches):
            raise UserError(
                f"{type(trainer.datamodule).__name__} has no validation data: val_dataloader() gives none.\n"  # type: ignore[attr-defined]
                "A run chooses its checkpoint on them: return a loader with at least one batch."
            )
        if not self._ended:
            self._ended = True
            self._refuse_unlogged(trainer, "the first epoch", of_training=True)

    def _refuse_unlogged(self, trainer: Trainer, when: str, of_training: bool) -> None:
        logged = trainer.callback_metrics
        for key, metric in self._watched(trainer):
            if metric not in logged and metric.startswith("train/") == of_training:
                raise UserError(
                    f"{key}={metric} is refused: nothing has logged that by the end of {when}\n"
                    f"logged: {', '.join(map(str, logged)) or 'nothing'}"
                )

    def _watched(self, trainer: Trainer) -> Iterator[tuple[str, str]]:
        yield "task.monitor", self.task["monitor"]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(monitor := getattr(callback, "monitor", None), str):
                yield f"{type(callback).__name__}(monitor)", monitor
        for schedule in trainer.lr_scheduler_configs:
            if schedule.reduce_on_plateau and schedule.monitor:
                yield "scheduler.monitor", schedule.monitor


def _of_torchmetrics(trainer: Trainer) -> dict[str, Mode]:
    """Return what TorchMetrics says of the metrics that were logged as objects, by their names without the stage."""
    results = trainer.fit_loop.epoch_loop.val_loop._results
    found: dict[str, Mode] = {}
    for logged in results.values():
        higher = logged.value.higher_is_better if isinstance(logged.value, Metric) else None
        if higher is not None and logged.meta.name.startswith(STAGES):
            found[logged.meta.name.partition("/")[2]] = "max" if higher else "min"
    return found
