"""The LightningDataModule: which images are trained on, validated and tested on, and how they reach the network."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lenet_lab.data.image_set import ImageSet, Source
from lenet_lab.data.loader import BatchLoader
from lenet_lab.data.normalize import Normalize
from lenet_lab.data.resident import ResidentImages, make_resident
from lenet_lab.data.split import Rows, balanced_split
from lenet_lab.errors import UserError

Batch = tuple[UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"], Int64[Tensor, "B"]]
"""Images, as stored or normalized, and their labels."""


class ImageDataModule(LightningDataModule):
    """Wraps any source: splits validation images from its train images, loads, augments and normalizes.

    Args:
        source: where the images come from.
        batch_size: images in a training batch, on each device.
        shuffle: train images in a new order each epoch.
        eval_batch_size: images in a validation or test batch, on each device.
        validation: fraction of each class's train images to validate on, above 0 and below 1.
        split_seed: which images these are.
        mean: on the scale 0 to 1, for all channels or one a channel.
        std: likewise.
        augment: applied to training batches only, in this order; each maps uint8 (B, C, H, W) to the same.
        seed: of the order of the training images.
        on_device: keep all images in the memory of the device that a Trainer computes on, if they fit there.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        shuffle: bool,
        eval_batch_size: int,
        validation: float,
        split_seed: int,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        augment: Sequence[nn.Module] = (),
        seed: int = 0,
        on_device: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.validation = validation
        self.split_seed = split_seed
        self.augment = nn.Sequential(*augment)
        self.mean = mean
        self.std = std
        self.normalize = Normalize(mean, std)
        self.shuffle_seed = seed if shuffle else None
        self.on_device = on_device
        self._resident: dict[int, ResidentImages | None] = {}
        self.train: ImageSet
        self.test: ImageSet
        self.train_rows: Rows
        self.validation_rows: Rows

    def prepare_data(self) -> None:
        """Fetch and decode what is missing. Several processes may call it: the sources see to it that one works."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Map the images and split them; `stage` makes no difference, and a second call does nothing.

        Raises:
            UserError: the images cannot be had, or do not fit `mean`, `std` and `augment`.
        """
        if hasattr(self, "test"):
            return
        train, test = self.source.load()
        channels = train.image_shape[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if isinstance(values, Sequence) and len(values) not in (1, channels):
                raise UserError(
                    f"data.{name}={list(values)} has {len(values)} numbers, but the images have {channels} channels.\n"
                    "Give one number for all channels, or one for each."
                )
        try:
            with torch.random.fork_rng(devices=[]):  # what a run draws must not depend on this trial
                self.augment(torch.zeros((1, *train.image_shape), dtype=torch.uint8))
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"augment: {error}\nGive it a value that fits, below augment, or leave that change out."
            ) from error
        self.train, self.test = train, test
        self.train_rows, self.validation_rows = balanced_split(
            self.train.labels, self.validation, self.split_seed, self.train.classes
        )

    def train_dataloader(self) -> BatchLoader:
        """Shuffled, without the validation images."""
        return self._loader(self.train, self.train_rows, self.batch_size, training=True)

    def val_dataloader(self) -> BatchLoader:
        """Images split from train."""
        return self._loader(self.train, self.validation_rows, self.eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        """The source's own test images, all of them."""
        return self._loader(self.test, np.arange(len(self.test)), self.eval_batch_size)

    def _loader(self, images: ImageSet, rows: Rows, batch_size: int, training: bool = False) -> BatchLoader:
        trainer = self.trainer
        loader = BatchLoader(images, rows, batch_size, shuffle_seed=self.shuffle_seed if training else None)
        if trainer is not None:
            loader.rank, loader.world_size = trainer.global_rank, trainer.world_size
            loader.epoch = lambda: trainer.current_epoch
            loader.device = device = trainer.strategy.root_device
            loader.resident = self._keep_on(device, images) if self.on_device else None
            if loader.resident is not None or device.type == "cpu":
                # many small batches at once: 3 % of a step at batch 4
                loader.prepare = partial(self.prepare, training=training)
        return loader

    def _keep_on(self, device: torch.device, images: ImageSet) -> ResidentImages | None:
        """Copy images to the device, once for training and validation; None where they do not fit."""
        if id(images) not in self._resident:
            self._resident[id(images)] = make_resident(images, device)
        return self._resident[id(images)]

    def prepare(self, images: UInt8[Tensor, "N C H W"], training: bool) -> Float32[Tensor, "N C H W"]:
        """Augment (for training only) and normalize, on the device of `images`."""
        if self.normalize.scale.device != images.device:
            self.normalize.to(images.device)
            self.augment.to(images.device)
        return cast(Tensor, self.normalize(self.augment(images) if training else images))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch; to a GPU it goes as uint8, a quarter of the bytes of float32."""
        images, labels = batch
        return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Prepare what the loader has not prepared."""
        images, labels = batch
        if images.dtype == torch.uint8:
            images = self.prepare(images, training=self.trainer is not None and self.trainer.training)
            if self.trainer is not None:  # Lightning converts what the loader gives, which were bytes
                images = self.trainer.precision_plugin.convert_input(images)
        return images, labels
