"""The seed of each epoch."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lenet_lab.seeding import epoch_seed


class EpochSeed(Callback):
    """Seeds what is drawn at random in an epoch, see `lenet_lab.seeding.epoch_seed`.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the generators of all devices that this process uses."""
        torch.manual_seed(epoch_seed(self.seed, trainer.current_epoch, trainer.global_rank))
