"""Random changes to training images: each works on a whole uint8 batch, on the batch's device."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RandomFlip(nn.Module):
    """Mirrors each image left to right with probability one half."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), any dtype, to the same."""
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return torch.where(mirrored, images.flip(-1), images)


class RandomShift(nn.Module):
    """Moves each image by up to `pixels` up or down and left or right; the edge is filled with its reflection.

    Args:
        pixels: the largest move; every whole number of pixels up to it is equally likely.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), any dtype, to the same; H and W must be larger than `pixels`."""
        count, channels, height, width = images.shape
        padded = F.pad(images.float(), [self.pixels] * 4, mode="reflect").to(images.dtype)
        top, left = torch.randint(0, 2 * self.pixels + 1, (2, count, 1), device=images.device)  # (B, 1) each
        rows = (top + torch.arange(height, device=images.device))[:, None, :, None]  # (B, 1, H, 1)
        columns = (left + torch.arange(width, device=images.device))[:, None, None, :]  # (B, 1, 1, W)
        image = torch.arange(count, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        return padded[image, channel, rows, columns]
