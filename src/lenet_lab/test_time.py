"""Test-time augmentation: what else a trained network is shown to judge an image."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

TestTime = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""From a network and float images (B, C, H, W) to logits (B, classes)."""


class Flip:
    """Averages the probabilities of an image and its mirror image; not for digits or letters."""

    def __call__(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Give log probabilities (B, classes), which serve as logits.

        Args:
            network: float (B, C, H, W) to logits (B, classes).
            images: float (B, C, H, W).
        """
        views = torch.stack([network(images), network(images.flip(-1))]).float()
        return views.log_softmax(-1).logsumexp(0) - math.log(2)
