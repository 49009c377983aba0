"""The LightningDataModule: which images are trained on, validated and tested on, and how they reach the network."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, described, shown
from lab_engine.images.duplicates import content_hashes
from lab_engine.images.fingerprint import fingerprint
from lab_engine.images.image_set import ImageSet
from lenet_lab.data.augment import PerImage, checked
from lenet_lab.data.loader import BatchLoader
from lenet_lab.data.normalize import Normalize
from lenet_lab.data.resident import ResidentImages, make_resident
from lenet_lab.data.split import Rows, stratified_fold, stratified_split

Batch = tuple[UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"], Int64[Tensor, "B"]] | list[Tensor]
"""Images, as stored or normalized, and their labels; PyTorch's own loaders give a list of them."""

MAX_IMBALANCE = 3
"""Times that the largest class may be larger than the smallest before the header says so."""


class ImageDataModule(LightningDataModule, ABC):
    """Splits validation images from the train images, makes batches, augments and normalizes them.

    A subclass implements `load`, and passes the arguments that are not its own on to this class.

    Args:
        batch_size: images in a training batch, on each device.
        shuffle: train images in a new order each epoch.
        eval_batch_size: images in a validation or test batch, on each device.
        validation: fraction of each class's train images to validate on, above 0 and below 1.
        split_seed: which images these are.
        folds: of cross-validation; each is the validation set of one run, in place of a fraction. None: a fraction.
        fold: which of them this run validates on, from 0.
        sampling: "balanced": an epoch draws each class as often as the others, so that images of rare classes come
            several times; "natural": each image comes once.
        mean: on the scale 0 to 1, for all channels or one a channel.
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
        folds: int | None = None,
        fold: int = 0,
        sampling: Literal["natural", "balanced"] = "natural",
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        augment: Mapping[str, nn.Module] | None = None,
        seed: int = 0,
        on_device: bool | Literal["auto"] = False,
    ) -> None:
        super().__init__()
        if folds is not None and fold >= folds:
            raise ValueError(f"fold={fold} is refused: with folds={folds} they are 0 to {folds - 1}")
        if sampling == "balanced" and not shuffle:
            raise ValueError("sampling=balanced draws images at random, and shuffle=false forbids it")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.validation = validation
        self.split_seed = split_seed
        self.folds, self.fold = folds, fold
        self.balanced = sampling == "balanced"
        self.changes = dict(augment or {})
        self.augment = nn.Sequential()  # of them, once it is known what images they are to change
        self.mean = mean
        self.std = std
        self.normalize = Normalize(mean, std)
        self.shuffle_seed = seed if shuffle else None
        self.on_device = on_device
        self.others = 0  # files beside the images that are of another kind
        self._resident: dict[int, ResidentImages | None] = {}
        self.train: ImageSet
        self.validation_images: ImageSet
        self.test: ImageSet
        self.train_rows: Rows
        self.validation_rows: Rows

    @abstractmethod
    def load(self) -> tuple[ImageSet, ImageSet] | tuple[ImageSet, ImageSet, ImageSet]:
        """Return train and test images, and perhaps validation images, which are else split from the train images.

        What is not there yet is fetched and decoded first.
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
        skipped = self.others + sum(each.skipped for each in self._loaded)
        fold = "" if self.folds is None else f" (fold {self.fold} of 0 to {self.folds - 1})"
        return {
            "data": f"{len(self.test.classes)} classes, {channels}x{height}x{width}, {len(self.train_rows):,} train, "
            f"{len(self.validation_rows):,} validation{fold}, {len(self.test):,} test images",
            "skipped": f"{counted(skipped, 'file')} (no image, or cannot be decoded)" if skipped else "",
            "duplicates": self._duplicates,
            "imbalance": self._imbalance(),
            "one by one": ", ".join(
                type(each.change).__name__ for each in self.augment if isinstance(each, PerImage)
            ),  # augmentations that take longer for it
        }

    @property
    def _loaded(self) -> list[ImageSet]:
        """The sets that `load` has returned, each once."""
        own = [] if self.validation_images is self.train else [self.validation_images]
        return [self.train, *own, self.test]

    def class_counts(self) -> list[int]:
        """Return how many images of each class are trained on."""
        counts: list[int] = np.bincount(self.train.labels[self.train_rows], minlength=len(self.train.classes)).tolist()
        return counts

    def _imbalance(self) -> str:
        """Describe classes of very different sizes, of which accuracy says little; empty where there are none."""
        counts = self.class_counts()
        largest, smallest = max(counts), min(counts)
        if largest <= MAX_IMBALANCE * smallest:
            return ""
        first, last = (shown(self.train.classes[counts.index(each)]) for each in (largest, smallest))
        return (
            f"{counted(largest, 'train image')} of {first}, {smallest:,} of {last}: accuracy hides rare classes, "
            "val/balanced_accuracy does not"
        )

    @cached_property
    def _duplicates(self) -> str:
        """Describe images that stand in two of the three sets, the same pixel by pixel; empty where there are none."""
        of_train = content_hashes(self.train)
        split = self.validation_images is self.train
        of_validation = of_train if split else content_hashes(self.validation_images)
        sets = {
            "train": of_train[self.train_rows],
            "validation": of_validation[self.validation_rows],
            "test": content_hashes(self.test),
        }
        pairs = (("train", "validation"), ("train", "test"), ("validation", "test"))
        shared = {pair: int(np.isin(sets[pair[1]], sets[pair[0]]).sum()) for pair in pairs}
        found = [f"{counted(count, f'{pair[1]} image')} also in {pair[0]}" for pair, count in shared.items() if count]
        return ", ".join(found)

    def fingerprint(self) -> str:
        """Return the SHA-256 of all images, labels and class names (see `lab_engine.images.fingerprint`)."""
        return fingerprint(self._loaded)

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
        train, test, *own = self.load()
        for name, images in zip(("train", "test", "validation"), (train, test, *own), strict=False):
            self._check(name, images)
        if own and self.folds is not None:
            raise UserError(
                f"data.folds={self.folds} is refused: these data have validation images of their own.\n"
                "Leave data.folds out, or move those images to the train images."
            )
        channels = train.image_shape[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if isinstance(values, Sequence) and len(values) not in (1, channels):
                raise UserError(
                    f"data.{name}={list(values)} has {counted(len(values), 'number')}, but the images have "
                    f"{counted(channels, 'channel')}.\n"
                    "Give one number for all channels, or one for each."
                )
        self.augment = nn.Sequential(
            *(checked(name, change, train.image_shape) for name, change in self.changes.items())
        )
        self.train, self.test = train, test
        self.validation_images = own[0] if own else train
        if own:
            self.train_rows, self.validation_rows = np.arange(len(train)), np.arange(len(own[0]))
        elif self.folds is not None:
            self.train_rows, self.validation_rows = stratified_fold(
                train.labels, self.folds, self.fold, self.split_seed, train.classes
            )
        else:
            self.train_rows, self.validation_rows = stratified_split(
                train.labels, self.validation, self.split_seed, train.classes
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
        """Return batches of the training images, in a new order each epoch."""
        return self._loader(self.train, self.train_rows, self.batch_size, training=True)

    def val_dataloader(self) -> BatchLoader:
        """Return batches of the validation images."""
        return self._loader(self.validation_images, self.validation_rows, self.eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        """Return batches of all test images."""
        return self._loader(self.test, np.arange(len(self.test)), self.eval_batch_size)

    def _loader(self, images: ImageSet, rows: Rows, batch_size: int, training: bool = False) -> BatchLoader:
        trainer = self.trainer
        seed = self.shuffle_seed if training else None
        loader = BatchLoader(images, rows, batch_size, shuffle_seed=seed, balanced=self.balanced and training)
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
