"""The seed of each epoch."""

from lightning.pytorch import Callback, LightningModule, Trainer

from lenet_lab.seeding import epoch_seed, seed_all


class EpochSeed(Callback):
    """Seeds what is drawn at random in an epoch, see `lenet_lab.seeding.epoch_seed`.

    A run that goes on in the middle of an epoch is not seeded here: its loader puts the generators where they were.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed all generators that this process uses."""
        seed_all(epoch_seed(self.seed, trainer.current_epoch, trainer.global_rank))
