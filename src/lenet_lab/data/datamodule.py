"""The LightningDataModule: which images are trained on, validated and tested on, and how they reach the network."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lab_engine.base.wording import described
from lab_engine.images.fingerprint import fingerprint
from lab_engine.images.image_set import ImageSet
from lenet_lab.data.loader import BatchLoader
from lenet_lab.data.normalize import Normalize
from lenet_lab.data.resident import ResidentImages, make_resident
from lenet_lab.data.split import Rows, stratified_split

Batch = tuple[UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"], Int64[Tensor, "B"]]
"""Images, as stored or normalized, and their labels."""


class ImageDataModule(LightningDataModule, ABC):
    """Splits validation images from the train images, makes batches, augments and normalizes them.

    A subclass implements `load`, and passes the arguments that are not its own on to this class.

    Args:
        batch_size: images in a training batch, on each device.
        shuffle: train images in a new order each epoch.
        eval_batch_size: images in a validation or test batch, on each device.
        validation: fraction of each class's train images to validate on, above 0 and below 1.
        split_seed: chooses the validation images.
        mean: on the scale 0 to 1; one number for all channels, or one per channel.
        std: likewise.
        augment: by name, applied to training batches only, in this order; each maps uint8 (B, C, H, W) to the same.
        seed: of the order of the training images.
        on_device: keep all images in the memory of the Trainer's device, if they fit there; "auto": on a GPU only.
    """

    def __init__(
        self,
        *,
        batch_size: int = 4,
        shuffle: bool = True,
        eval_batch_size: int = 1000,
        validation: float = 0.05,
        split_seed: int = 0,
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        augment: Mapping[str, nn.Module] | None = None,
        seed: int = 0,
        on_device: bool | Literal["auto"] = False,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.validation = validation
        self.split_seed = split_seed
        self.augment = nn.Sequential(*(augment or {}).values())
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

    @abstractmethod
    def load(self) -> tuple[ImageSet, ImageSet]:
        """Return the train and the test images; download and decode them first if needed.

        Safe when several processes call it at once: one does the work, the others wait for its result.

        Raises:
            UserError: the images are not available; the text says what to do.
        """

    def model_arguments(self) -> dict[str, Any]:
        """Return the facts that `from_data` stands for, and how images are prepared for the trained network."""
        channels, *image_size = self.train.image_shape
        classes = list(self.train.classes)
        return {
            "in_channels": channels,
            "image_size": image_size,  # height, width
            "num_classes": len(classes),
            "classes": classes,
            "mean": self.mean,
            "std": self.std,
        }

    def describe(self) -> dict[str, str]:
        """Return lines for the header of a run, by name."""
        channels, height, width = self.test.image_shape
        skipped = self.train.skipped + self.test.skipped
        return {
            "data": f"{len(self.test.classes)} classes, {channels}x{height}x{width}, {len(self.train_rows):,} train, "
            f"{len(self.validation_rows):,} validation, {len(self.test):,} test images",
            "skipped": f"{skipped:,} files that cannot be decoded" if skipped else "",
        }

    def fingerprint(self) -> str:
        """Return the SHA-256 of all images, labels and class names (see `lab_engine.images.fingerprint`)."""
        return fingerprint((self.train, self.test))

    def values_per_batch(self) -> int:
        """Return how many numbers a training batch holds; the number of CPU threads follows from it."""
        return self.batch_size * math.prod(self.train.image_shape)

    def setup(self, stage: str | None = None) -> None:
        """Load the images and split them; `stage` makes no difference, and a second call does nothing.

        Raises:
            UserError: the images are not available, or do not fit `mean`, `std` and `augment`.
        """
        if hasattr(self, "test"):
            return
        train, test = self.load()
        for name, images in (("train", train), ("test", test)):
            self._check(name, images)
        channels = train.image_shape[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if isinstance(values, Sequence) and len(values) not in (1, channels):
                raise UserError(
                    f"data.{name}={list(values)} has {len(values)} numbers, but the images have {channels} channels.\n"
                    "Give one number for all channels, or one for each."
                )
        try:
            with torch.random.fork_rng(devices=[]):  # this trial must not change the run's random numbers
                self.augment(torch.zeros((1, *train.image_shape), dtype=torch.uint8))
        except (ValueError, RuntimeError) as error:
            raise UserError(f"augment: {error}\nGive that augmentation a value that fits, or leave it out.") from error
        self.train, self.test = train, test
        self.train_rows, self.validation_rows = stratified_split(
            self.train.labels, self.validation, self.split_seed, self.train.classes
        )

    def _check(self, name: str, images: ImageSet) -> None:
        """Refuse arrays that break the rules of `ImageSet`: they would silently be normalized or counted wrongly."""
        made, count, classes = type(self).__name__, len(images.labels), len(images.classes)
        pixels, labels = np.asanyarray(images.images), np.asanyarray(images.labels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or len(pixels) != count:
            raise UserError(
                f"{made}.load() gives {name} images of {described(pixels)} for {count:,} labels.\n"
                "They must be uint8 (N, C, H, W), values 0 to 255, with C = 1 (grey) or 3 (RGB)."
            )
        if labels.dtype != np.int64 or labels.ndim != 1 or not count:
            raise UserError(
                f"{made}.load() gives {name} labels of {described(labels)}.\n"
                "They must be int64 (N,), the number of each image's class, and at least one."
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise UserError(
                f"{made}.load() gives {name} labels from {labels.min()} to {labels.max()} for {classes} classes.\n"
                f"They must be whole numbers from 0 to {classes - 1}."
            )

    def train_dataloader(self) -> BatchLoader:
        """Shuffled, without the validation images."""
        return self._loader(self.train, self.train_rows, self.batch_size, training=True)

    def val_dataloader(self) -> BatchLoader:
        """Images split from train."""
        return self._loader(self.train, self.validation_rows, self.eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        """All test images."""
        return self._loader(self.test, np.arange(len(self.test)), self.eval_batch_size)

    def _loader(self, images: ImageSet, rows: Rows, batch_size: int, training: bool = False) -> BatchLoader:
        trainer = self.trainer
        loader = BatchLoader(images, rows, batch_size, shuffle_seed=self.shuffle_seed if training else None)
        if trainer is not None:
            loader.rank, loader.world_size = trainer.global_rank, trainer.world_size
            loader.epoch = lambda: trainer.current_epoch
            loader.device = device = trainer.strategy.root_device
            on_device = device.type == "cuda" if self.on_device == "auto" else self.on_device
            loader.resident = self._keep_on(device, images) if on_device else None
            if loader.resident is not None or device.type == "cpu":
                # many small batches at once, which is faster than one by one
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
        """Augment and normalize the batch if the loader has not."""
        images, labels = batch
        if images.dtype == torch.uint8:
            images = self.prepare(images, training=self.trainer is not None and self.trainer.training)
            if self.trainer is not None:  # Lightning has converted the batch before, as uint8
                images = self.trainer.precision_plugin.convert_input(images)
        return images, labels
