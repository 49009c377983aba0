"""The seed of each epoch."""

from lightning.pytorch import Callback, LightningModule, Trainer

from lab_engine.base.seeding import epoch_seed, seed_all
from lab_engine.training.loaders import are_stateful


class EpochSeed(Callback):
    """Seeds all random generators at the start of each epoch, see `lab_engine.base.seeding.epoch_seed`.

    A run that resumes in the middle of an epoch is not seeded here: its loader restores the states of the generators.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._first = True  # whether the next epoch is the first of this `fit`

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset, for a second `fit`."""
        self._first = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the generators of this process."""
        seed_all(epoch_seed(self.seed, trainer.current_epoch, trainer.global_rank))
        if self._first and not are_stateful(trainer):
            # Lightning drew the first epoch's order before this seed; in later epochs it draws after it. Without a new
            # draw, a resumed run would see its first epoch in another order than an uninterrupted run.
            iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        self._first = False
