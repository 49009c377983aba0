"""What the network says of each test image, for the report of the run."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lenet_lab.classifier import Classifier
from lenet_lab.data.datamodule import Batch
from lenet_lab.data.loader import BatchLoader


class Predictions(Callback):
    """Keeps the predictions of a test.

    Attributes:
        confusion: int64 (true class, predicted class), of the test images of all devices.
        rows: int64 (N,), this device's share of the test images.
        labels: int64 (N,), their true classes.
        predicted: int64 (N,), the classes that the network gives them.
        confidence: float32 (N,), the probability (softmax) that it gives these, 0 to 1; NaN if it computes NaN.
    """

    confusion: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []  # on the device: read once, at the end

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what the logits say."""
        confidence, predicted = outputs.float().softmax(1).max(1)
        self._parts.append((batch[1], predicted, confidence))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up; Lightning calls callbacks first, so the module has not yet begun its confusion matrix anew."""
        assert isinstance(pl_module, Classifier)  # noqa: S101 - which has the matrix
        self.confusion = pl_module.metrics.confusion.compute().cpu().numpy()
        joined = (torch.cat(part).cpu().numpy() for part in zip(*self._parts, strict=True))
        self.labels, self.predicted, self.confidence = joined
        loader: BatchLoader = trainer.test_dataloaders  # type: ignore[assignment]  # it has one
        self.rows = loader.rows[loader.rank :: loader.world_size][: len(self.labels)]
        self._parts.clear()
