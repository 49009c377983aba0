"""The seed of each epoch."""

from lightning.pytorch import Callback, LightningModule, Trainer

from lab_engine.base.seeding import epoch_seed, seed_all
from lab_engine.training.loaders import are_stateful


class EpochSeed(Callback):
    """Seeds what is drawn at random in an epoch, see `lab_engine.base.seeding.epoch_seed`.

    A run that goes on in the middle of an epoch is not seeded here: its loader puts the generators where they were.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._first = True  # epoch of this training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier training."""
        self._first = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed all generators that this process uses."""
        seed_all(epoch_seed(self.seed, trainer.current_epoch, trainer.global_rank))
        if self._first and not are_stateful(trainer):
            # Lightning has asked the loader for its first order before, and asks again in later epochs only: a run that
            # is resumed would see its first epoch in another order than one that was not interrupted.
            iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        self._first = False
