"""The predictions for the test images, for the report of the run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """The predictions of a test.

    Attributes:
        confusion: int64 (true class, predicted class), of the test images of all devices.
        rows: int64 (N,), this device's share of the test images.
        labels: int64 (N,), their true classes.
        predicted: int64 (N,), the classes that the network gives them.
        confidence: float32 (N,), the probabilities (softmax) of these classes, 0 to 1; NaN where the network gives NaN.
    """

    confusion: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]


class PredictionLog:
    """Collects the predictions of the test batches, on their device, until the test has ended."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, logits: Float[Tensor, "B classes"], labels: Int64[Tensor, "B"]) -> None:
        """Add a batch."""
        confidence, predicted = logits.float().softmax(1).max(1)
        self._parts.append((labels, predicted, confidence))

    def finish(
        self, confusion: Int64[Tensor, "classes classes"], rows: npt.NDArray[np.int64] | None
    ) -> Predictions | None:
        """Return all predictions and forget them; None if `rows` is None or there was no batch.

        Args:
            confusion: of all devices.
            rows: int64 (at least N,), this device's test images, in the order of the test; None if that is not known.
        """
        parts, self._parts = self._parts, []
        if rows is None or not parts:
            return None
        labels, predicted, confidence = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        return Predictions(confusion.cpu().numpy(), rows[: len(labels)], labels, predicted, confidence)
