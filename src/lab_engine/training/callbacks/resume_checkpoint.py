"""`last.ckpt`: the checkpoint from which an interrupted run resumes, with the same result as an uninterrupted run."""

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
"""Key in checkpoints: training was stopped before its last epoch, such as by EarlyStopping."""
SECONDS_BETWEEN_SYNCS = 1.0  # in which several devices agree whether to save or to stop


class ResumeCheckpoint(Checkpoint):
    """Saves `last.ckpt` after each epoch and every few minutes; on Ctrl-C or SIGTERM it saves and ends the run.

    The checkpoint before it is kept as `last.previous.ckpt`. Lightning calls a `Checkpoint` after all other callbacks,
    and `build_callbacks` puts this one last, so that it saves the states of the others after the same step.

    Args:
        dirpath: folder of the checkpoints.
        every_n_minutes: minutes between two saves within an epoch, the most that a killed run loses; null: save after
            epochs only.
    """

    def __init__(self, dirpath: str | Path, every_n_minutes: float | None = 2.0) -> None:
        self.file = Path(dirpath) / "last.ckpt"
        self.seconds = float("inf") if every_n_minutes is None else 60.0 * every_n_minutes
        self._interruption = Interruption()
        self._within_epochs = True
        self._saved = time.monotonic()
        self._asked = self._due = 0  # the same on all devices after a sync
        self._steps_between_syncs = 1
        self._steps_since_sync = 0
        self._synced = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle signals from here on, in place of Lightning, and restore the state of the loader."""
        # Lightning 2.6 does not restore it if a schedule needed the number of steps, and so the loader, before
        trainer.fit_loop._load_combined_loader_states()
        self._within_epochs = are_stateful(trainer)
        if not self._within_epochs:
            log.info("This data can be resumed at the end of an epoch only: its loader has no state_dict().")
        self._interruption = Interruption(trainer.is_global_zero, trainer.world_size > 1)
        self._interruption.listen()
        self._saved = self._synced = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is due, or if a signal has asked the run to end."""
        self._decide(trainer)
        if not self._within_epochs:
            self._end_if_asked()
        elif (self._asked or self._due) and _can_save(trainer, batch_idx):
            self._save(trainer)
            self._end_if_asked()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and end the run if a signal has asked it to."""
        _step_plateau_schedulers(trainer)
        self._save(trainer)
        self._decide(trainer, at_once=True)  # a signal may have come in validation
        self._end_if_asked()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop handling signals: the test that follows can be interrupted anywhere."""
        self._interruption.leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop handling signals."""
        self._interruption.leave()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save whether training was stopped early."""
        checkpoint[STOPPED] = trainer.should_stop

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore whether training was stopped early, and move the paths of ModelCheckpoints to their present folder.

        With paths of another folder they would forget the best score. Also, a checkpoint from a stranger could make
        them delete files in any folder.
        """
        trainer.should_stop = checkpoint.get(STOPPED, False)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ModelCheckpoint):
                for key in (callback.state_key, type(callback)):  # Lightning uses the second for states of old versions
                    if state := checkpoint["callbacks"].get(key):
                        _rebase(state, callback.dirpath or self.file.parent)

    def _save(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:  # before the checkpoint: steps before it are not logged again
            logger.save()
        trainer.save_checkpoint(self.file, weights_only=False, storage_options=KEEP_PREVIOUS)
        self._saved, self._due = time.monotonic(), 0

    def _end_if_asked(self) -> None:
        if self._asked:
            raise Interrupted(self._asked)

    def _decide(self, trainer: Trainer, at_once: bool = False) -> None:
        """Decide whether to save or to end; several devices agree on it about once per second, or `at_once`."""
        if trainer.world_size == 1:
            self._asked, self._due = self._interruption.asked, time.monotonic() - self._saved >= self.seconds
            return
        self._steps_since_sync += 1
        if self._steps_since_sync >= self._steps_between_syncs or at_once:
            self._sync(trainer)

    def _sync(self, trainer: Trainer) -> None:
        """Agree with the other devices: a signal may have reached only some of them."""
        now = time.monotonic()
        asked, due, steps = self._interruption.asked, 0, 0
        if trainer.is_global_zero:
            due = int(now - self._saved >= self.seconds)
            took = max((now - self._synced) / self._steps_since_sync, 1e-6)  # seconds per step
            steps = max(min(int(SECONDS_BETWEEN_SYNCS / took), 2 * self._steps_between_syncs), 1)
        agreed = torch.tensor([asked, due, steps], device=trainer.strategy.root_device)
        distributed.all_reduce(agreed, distributed.ReduceOp.MAX)
        self._asked, self._due, self._steps_between_syncs = (int(each) for each in agreed.tolist())
        self._steps_since_sync, self._synced = 0, now


def _step_plateau_schedulers(trainer: Trainer) -> None:
    """Step schedulers such as ReduceLROnPlateau before the checkpoint of the epoch is written.

    Lightning 2.6 steps them after it, and in a resumed epoch not at all: their step would be lost.
    """
    if any(each.reduce_on_plateau and each.interval == "epoch" for each in trainer.lr_scheduler_configs):
        trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        trainer.fit_loop._restarting = True  # Lightning then does not step them again in this epoch


def _can_save(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a checkpoint written after this batch would hold the whole state of the run."""
    batches, every = batch_idx + 1, trainer.log_every_n_steps  # type: ignore[attr-defined]
    return (
        not trainer.is_last_batch  # else the end of the epoch would run twice
        and batches % trainer.accumulate_grad_batches == 0  # a checkpoint does not hold accumulated gradients
        and batches % (trainer.val_check_batch or float("inf")) != 0
        and not any(each.reduce_on_plateau and each.interval == "step" for each in trainer.lr_scheduler_configs)
        # loggers get the values of this step only after this hook; if every step is logged, one point may be lost
        and (trainer.global_step % every != 0 or every == 1)
    )


def _rebase(state: dict[str, Any], folder: str | Path) -> None:
    """Replace the folder in all paths of a ModelCheckpoint's state by `folder`."""

    def rebased(path: Any) -> str:
        name = Path(str(path)).name
        return str(Path(folder, name)) if name not in ("", "..") else ""

    state["dirpath"] = str(folder)
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = rebased(state.get(key, ""))
    best = {rebased(path): score for path, score in state.get("best_k_models", {}).items()}
    state["best_k_models"] = {path: score for path, score in best.items() if path}
