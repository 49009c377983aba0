"""What several devices measure, as one number."""

from functools import wraps
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lab_engine.artifacts.results import STAGES


class SyncMetrics(Callback):
    """Has numbers that a task logs as `val/…` and `test/…` averaged over all devices, weighted by their samples.

    Without `sync_dist=True`, Lightning would take the first device's for the whole. Metrics of TorchMetrics do so
    themselves; `sync_dist=False` leaves a number as it is.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Change the default of the task's `log`."""
        log = pl_module.log
        if trainer.world_size == 1 or hasattr(log, "__wrapped__"):
            return

        @wraps(log)
        def log_for_all(name: str, *arguments: Any, **options: Any) -> None:
            if name.startswith(STAGES):
                options.setdefault("sync_dist", True)
            log(name, *arguments, **options)

        pl_module.log = log_for_all  # type: ignore[method-assign]
