"""The normalization of stored images, and its inverse."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn


class Normalize(nn.Module):
    """(x / 255 - mean) / std, a batch at a time, on the batch's device.

    Args:
        mean: on the scale 0 to 1; one number for all channels, or one per channel.
        std: likewise. mean 0.5 and std 0.5 bring images to [-1, 1].
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        mean_, std_ = (torch.tensor(x, dtype=torch.float64).reshape(-1, 1, 1) for x in (mean, std))  # (C or 1, 1, 1)
        self.register_buffer("scale", (1 / (255 * std_)).float(), persistent=False)
        self.register_buffer("shift", (-mean_ / std_).float(), persistent=False)

    def forward(self, images: UInt8[Tensor, "B C H W"] | Float32[Tensor, "B C H W"]) -> Float32[Tensor, "B C H W"]:
        """Normalize values from 0 to 255."""
        return images.float().mul_(self.scale).add_(self.shift)

    def undo(self, images: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
        """Return normalized images as uint8, 0 to 255."""
        return (
            images.float()
            .sub(self.shift.to(images.device))
            .div_(self.scale.to(images.device))
            .round_()
            .clamp_(0, 255)
            .byte()
        )
