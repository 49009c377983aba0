"""`checkpoints/best.ckpt`."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint, and of several that are equally good the last one, which has learned for longest.

    Args: see `ModelCheckpoint`.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether the checkpoint of now is to be kept; all devices have the same `current`."""
        tied = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return tied or super().check_monitor_top_k(trainer, current)
