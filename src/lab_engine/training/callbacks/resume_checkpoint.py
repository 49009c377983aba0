"""`last.ckpt`: where a run that was interrupted goes on, to the same end."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import distributed

from lab_engine.artifacts.checkpoint_io import KEEP_PREVIOUS
from lab_engine.base.signals import Interrupted, Interruption
from lab_engine.training.loaders import are_stateful

log = logging.getLogger(__name__)

STOPPED = "should_stop"
"""Key in checkpoints: training has ended before its last epoch."""
SECONDS_BETWEEN_TALKS = 1.0  # of several devices, about whether to save or to end


class ResumeCheckpoint(Checkpoint):
    """Saves after each epoch and, in long ones, every few minutes; on Ctrl-C and SIGTERM too, and ends the run then.

    The checkpoint before stays beside it as `last.previous.ckpt`. It is a Checkpoint, which Lightning calls after all
    others, and training has it be the last of those: what they know of a step is saved.

    Args:
        dirpath: folder of the checkpoints.
        every_n_minutes: the time that a run which is killed may lose; null: an epoch.
    """

    def __init__(self, dirpath: str | Path, every_n_minutes: float | None = 2.0) -> None:
        self.file = Path(dirpath) / "last.ckpt"
        self.seconds = float("inf") if every_n_minutes is None else 60.0 * every_n_minutes
        self._interruption = Interruption()
        self._within_epochs = True
        self._saved = time.monotonic()
        self._asked = self._due = 0  # as all devices know
        self._talks = 1  # steps from one talk to the next
        self._silent = 0  # steps since the last one
        self._talked = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen; Lightning, which only ends on a signal, has begun to before. Have the loader go on where it was."""
        # Lightning 2.6 forgets to where something needed the number of steps, and so the loader, before: a schedule
        trainer.fit_loop._load_combined_loader_states()
        self._within_epochs = are_stateful(trainer)
        if not self._within_epochs:
            log.info("This data can be resumed at the end of an epoch only: its loader has no state.")
        self._interruption = Interruption(trainer.is_global_zero, trainer.world_size > 1)
        self._interruption.listen()
        self._saved = self._talked = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if the run was asked to end."""
        self._look(trainer)
        if not self._within_epochs:
            self._end_if_asked()
        elif (self._asked or self._due) and _can_be_cut(trainer, batch_idx):
            self._save(trainer)
            self._end_if_asked()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        _follow_plateaus(trainer)
        self._save(trainer)
        self._look(trainer, at_once=True)  # a signal may have come in validation
        self._end_if_asked()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the signals alone: the test that follows can be cut anywhere."""
        self._interruption.leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Likewise."""
        self._interruption.leave()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep that EarlyStopping, say, has ended training."""
        checkpoint[STOPPED] = trainer.should_stop

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """End training where it had ended, and rebase what Lightning's checkpoints keep on where their folders are now.

        From another folder they would forget the best score; and of files anywhere else, a stranger's checkpoint could
        have them removed.
        """
        trainer.should_stop = checkpoint.get(STOPPED, False)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ModelCheckpoint):
                for key in (callback.state_key, type(callback)):  # Lightning gives states of old versions the second
                    if state := checkpoint["callbacks"].get(key):
                        _rebase(state, callback.dirpath or self.file.parent)

    def _save(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:  # first: what it has of these steps will not be written again
            logger.save()
        trainer.save_checkpoint(self.file, weights_only=False, storage_options=KEEP_PREVIOUS)
        self._saved, self._due = time.monotonic(), 0

    def _end_if_asked(self) -> None:
        if self._asked:
            raise Interrupted(self._asked)

    def _look(self, trainer: Trainer, at_once: bool = False) -> None:
        """Decide whether to save or to end; several devices agree on it, about once a second or `at_once`."""
        if trainer.world_size == 1:
            self._asked, self._due = self._interruption.asked, time.monotonic() - self._saved >= self.seconds
            return
        self._silent += 1
        if self._silent >= self._talks or at_once:
            self._talk(trainer)

    def _talk(self, trainer: Trainer) -> None:
        """Agree with the other devices: a signal may have come to any of them."""
        now = time.monotonic()
        asked, due, steps = self._interruption.asked, 0, 0
        if trainer.is_global_zero:
            due = int(now - self._saved >= self.seconds)
            took = max((now - self._talked) / self._silent, 1e-6)  # seconds a step
            steps = max(min(int(SECONDS_BETWEEN_TALKS / took), 2 * self._talks), 1)
        said = torch.tensor([asked, due, steps], device=trainer.strategy.root_device)
        distributed.all_reduce(said, distributed.ReduceOp.MAX)
        self._asked, self._due, self._talks = (int(each) for each in said.tolist())
        self._silent, self._talked = 0, now


def _follow_plateaus(trainer: Trainer) -> None:
    """Move schedules that watch a metric, such as ReduceLROnPlateau, before the checkpoint of the epoch is written.

    Lightning 2.6 does so after it, and not at all in an epoch that a run went on in: the step would be lost.
    """
    if any(each.reduce_on_plateau and each.interval == "epoch" for each in trainer.lr_scheduler_configs):
        trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        trainer.fit_loop._restarting = True  # until the epoch has ended, some lines on: it is not done again


def _can_be_cut(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether nothing is under way that a checkpoint does not hold."""
    batches, every = batch_idx + 1, trainer.log_every_n_steps  # type: ignore[attr-defined]
    return (
        not trainer.is_last_batch  # the end of the epoch is near, and what belongs to it would be done twice
        and batches % trainer.accumulate_grad_batches == 0  # gradients are not in a checkpoint
        and batches % (trainer.val_check_batch or float("inf")) != 0
        and not any(each.reduce_on_plateau and each.interval == "step" for each in trainer.lr_scheduler_configs)
        # loggers get what was just reported only after this; where that is at each step, one point may be lost
        and (trainer.global_step % every != 0 or every == 1)
    )


def _rebase(state: dict[str, Any], folder: str | Path) -> None:
    """Keep only the names of files from what a ModelCheckpoint kept of itself; they lie in `folder`, its own."""

    def rebased(path: Any) -> str:
        name = Path(str(path)).name
        return str(Path(folder, name)) if name not in ("", "..") else ""

    state["dirpath"] = str(folder)
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = rebased(state.get(key, ""))
    best = {rebased(path): score for path, score in state.get("best_k_models", {}).items()}
    state["best_k_models"] = {path: score for path, score in best.items() if path}
