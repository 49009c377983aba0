"""Metrics as means over all devices."""

from functools import wraps
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lab_engine.artifacts.results import STAGES


class SyncMetrics(Callback):
    """Makes `sync_dist=True` the default for numbers logged as `val/…` and `test/…`: their mean over all devices.

    The mean is weighted by samples. With Lightning's default, the number of the first device would be taken for all.
    Metrics of TorchMetrics synchronize themselves. A task can still log a number with `sync_dist=False`.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wrap the task's `log`."""
        log = pl_module.log
        if trainer.world_size == 1 or hasattr(log, "__wrapped__"):
            return

        @wraps(log)
        def log_for_all(name: str, *arguments: Any, **options: Any) -> None:
            if name.startswith(STAGES):
                options.setdefault("sync_dist", True)
            log(name, *arguments, **options)

        pl_module.log = log_for_all  # type: ignore[method-assign]
