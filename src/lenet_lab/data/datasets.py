"""Any datasets of PyTorch, as one data module."""

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, random_split

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, shown
from lab_engine.training.loaders import divide


class DatasetModule(LightningDataModule):
    """Loads training, validation and test samples from three datasets that have a length.

    Args:
        train: to train on.
        test: to measure once.
        val: to choose the checkpoint by; None: a part of `train`, with its transforms.
        batch_size: samples in a training batch, on each device.
        eval_batch_size: samples in a validation or test batch, on each device; with several devices it may be a few
            less, so that all have as many batches.
        num_workers: processes that load samples, beside each training process.
        validation: fraction of `train` to validate on where there is no `val`, above 0 and below 1.
        split_seed: which samples these are.
        predict: samples of the command `predict`, pairs as those of `test` or inputs alone; None: those of `test`.
        collate: from a list of samples to a batch; None: PyTorch's own, which stacks tensors.

    Raises:
        UserError: one is no dataset with a length, or they name different classes, so that a number would stand for
            several.
    """

    def __init__(
        self,
        train: Dataset[Any],
        test: Dataset[Any],
        val: Dataset[Any] | None = None,
        *,
        batch_size: int = 32,
        eval_batch_size: int = 256,
        num_workers: int = 0,
        validation: float = 0.1,
        split_seed: int = 0,
        predict: Dataset[Any] | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        super().__init__()
        self.of_train = train
        for part, dataset in (("train", train), ("val", val), ("test", test), ("predict", predict)):
            if dataset is not None and not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
                raise UserError(
                    f"data.{part}={shown(dataset)} is no dataset with a length.\n"
                    f"Give a class or a function that makes one: 'data.{part}={{_target_: mine.data.{part}}}'"
                )
        for part, dataset in (("val", val), ("test", test)):
            here, there = (getattr(each, "classes", None) for each in (train, dataset))
            if here is not None and there is not None and list(here) != list(there):
                raise UserError(
                    f"data.{part} has the classes {shown(list(there))}, and data.train {shown(list(here))}.\n"
                    "A class must have the same number in all of them: give them the same list, in the same order."
                )
        if val is None:
            random = torch.Generator().manual_seed(split_seed)
            train, val = random_split(train, [1 - validation, validation], random)
        self.train, self.val, self.test, self.predict = train, val, test, predict
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.collate = collate

    def model_arguments(self) -> dict[str, Any]:
        """Return what `from_data` stands for, as far as the training data tell it.

        `classes` and `num_classes` (also `num_labels`), where the dataset has an attribute `classes`; of inputs that
        are tensors `inputs`, how many values there are, and of those of three dimensions, which are images,
        `in_channels` and `image_size`.
        """
        facts: dict[str, Any] = {}
        if (classes := getattr(self.of_train, "classes", None)) is not None:
            names = list(map(str, classes))
            facts |= {"classes": names, "num_classes": len(names), "num_labels": len(names)}
        sample = self.of_train[0]
        if isinstance(sample, list | tuple) and isinstance(sample[0], Tensor):
            facts["inputs"] = sample[0].numel()
            if sample[0].ndim == 3:
                facts |= {"in_channels": len(sample[0]), "image_size": list(sample[0].shape[1:])}
        return facts

    def describe(self) -> dict[str, str]:
        """Return lines for the header of a run, by name."""
        train, val, test = (f"{len(cast(Any, each)):,}" for each in (self.train, self.val, self.test))
        workers = f", {counted(self.num_workers, 'worker')}" if self.num_workers else ""
        more = "" if self.predict is None else f", {len(cast(Any, self.predict)):,} to predict"
        name = type(self.of_train).__name__
        return {"data": f"{name}, {train} train, {val} validation, {test} test samples{more}{workers}"}

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training samples, in a new order each epoch."""
        return self._loader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation samples."""
        return self._evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test samples."""
        return self._evaluation_loader(self.test)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the samples to predict, in their order."""
        return self._evaluation_loader(self.test if self.predict is None else self.predict)

    def _evaluation_loader(self, samples: Dataset[Any]) -> DataLoader[Any]:
        """Load samples in their order; each device takes its share."""
        sampler, batch_size = divide(samples, self.trainer, self.eval_batch_size)
        return self._loader(samples, batch_size, sampler)

    def _loader(
        self, samples: Dataset[Any], batch_size: int, sampler: Any = None, shuffle: bool = False
    ) -> DataLoader[Any]:
        return DataLoader(
            samples,
            batch_size,
            shuffle=shuffle,
            sampler=sampler,
            num_workers=self.num_workers,  # new ones each epoch, for a checkpoint does not hold their random states
            collate_fn=self.collate,
        )
