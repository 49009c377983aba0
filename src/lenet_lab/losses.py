"""Losses of classes and labels."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


class CrossEntropy(nn.Module):
    """Mean cross entropy of logits.

    Args:
        label_smoothing: share of the probability that goes to all classes alike, 0 to below 1.
        class_weights: how much an image of each class counts; "auto": in inverse proportion to the number of training
            images of its class, 1 on average over the images. None: all alike.
    """

    weights: Tensor | None

    def __init__(
        self, label_smoothing: float = 0.0, class_weights: Sequence[float] | Literal["auto"] | None = None
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.waits_for_counts = class_weights == "auto"
        given = None if class_weights is None or isinstance(class_weights, str) else torch.tensor(class_weights)
        self.register_buffer("weights", given, persistent=False)

    def use_counts(self, counts: Sequence[int]) -> None:
        """Set the weights from the number of training images of each class; a class without images has weight 0."""
        each = torch.tensor(counts, dtype=torch.float64)
        self.weights = torch.where(each > 0, each.sum() / (len(each) * each), 0.0).float()

    def forward(
        self,
        logits: Float[Tensor, "B classes *place"],
        targets: Int64[Tensor, "B *place"] | Float[Tensor, "B classes *place"],
    ) -> Float[Tensor, ""]:
        """Return the mean, weighted by class where there are weights; targets are labels, or shares of the classes.

        With places, such as the pixels of an image (H, W), each has a label of its own.

        Raises:
            ValueError: there is one class.
        """
        if logits.shape[1] < 2:
            raise ValueError("of one class it is always 0")
        return F.cross_entropy(logits, targets, self.weights, label_smoothing=self.label_smoothing)


class BinaryCrossEntropy(nn.BCEWithLogitsLoss):
    """Mean binary cross entropy of logits; targets are whole numbers, as metrics take them."""

    checked = False

    def forward(self, logits: Float[Tensor, "*shape"], targets: Int64[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Return the mean over all elements.

        Raises:
            ValueError: there are targets other than 0 and 1; on a GPU only the first batch is checked.
        """
        if (targets.is_cpu or not self.checked) and ((targets < 0) | (targets > 1)).any():  # a GPU would have to wait
            raise ValueError(f"targets are {int(targets.min())} to {int(targets.max())}, and must be 0 or 1")
        self.checked = True
        loss: Tensor = super().forward(logits, targets.to(logits.dtype))
        return loss
