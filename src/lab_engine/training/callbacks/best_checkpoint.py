"""`checkpoints/best.ckpt`."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint, and of several equally good ones the last, which was trained for longest.

    Args: see `ModelCheckpoint`.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether to save a checkpoint; `current`, the monitored metric, is the same on all devices."""
        tied = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return tied or super().check_monitor_top_k(trainer, current)
