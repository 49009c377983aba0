"""Losses that torch has not."""

from jaxtyping import Float, Int64
from torch import Tensor, nn


class BinaryCrossEntropy(nn.BCEWithLogitsLoss):
    """Mean binary cross entropy of logits; targets are whole numbers, as metrics take them."""

    def forward(self, logits: Float[Tensor, "*shape"], targets: Int64[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Return the mean over all elements."""
        loss: Tensor = super().forward(logits, targets.to(logits.dtype))
        return loss
