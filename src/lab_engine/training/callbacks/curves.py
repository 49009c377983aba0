"""`curves.csv`: metrics at each validation, for reports and for pruning."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lab_engine.artifacts.curves import append_to_curves, start_curves
from lab_engine.artifacts.results import COUNT, measured
from lab_engine.training.running_means import RunningMeans


class Curves(Callback):
    """Writes a row to `curves.csv` after each validation.

    Args:
        folder: the run folder.
        means: of training, over the epoch.
    """

    def __init__(self, folder: str | Path, means: RunningMeans) -> None:
        self.file = Path(folder) / "curves.csv"
        self.means = means

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the rows after the step at which the run starts or resumes."""
        if trainer.is_global_zero:
            start_curves(self.file, trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row."""
        if trainer.is_global_zero and trainer.state.fn == TrainerFn.FITTING:
            known = {name: value for name, value in measured(trainer).items() if not name.endswith(f"/{COUNT}")}
            row = {**self.means.means, **known}
            append_to_curves(self.file, {**row, "epoch": trainer.current_epoch + 1, "step": trainer.global_step})
