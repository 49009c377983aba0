"""Test-time augmentation: predictions averaged over several views of each image."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from lab_engine.base.errors import UserError

TTA = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""From a network and float images (B, C, H, W) to logits (B, classes)."""


def single_view(network: Callable[[Tensor], Tensor], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B classes"]:
    """Return the logits of the images as they are: no test-time augmentation."""
    return network(images)


class FlipShiftTTA:
    """Averages the probabilities of several views of each image: as it is, mirrored, shifted a little.

    Args:
        flip: add the mirror image of each view, left to right; wrong for digits or letters.
        shift: add views shifted by this many pixels up, down, left and right, the edge filled with its reflection; 0:
            add none.
    """

    def __init__(self, flip: bool, shift: int) -> None:
        self.flip = flip
        self.shift = shift

    def __str__(self) -> str:
        count = (5 if self.shift else 1) * (2 if self.flip else 1)
        return f"{count} views of each image"

    def __call__(
        self, network: Callable[[Tensor], Tensor], images: Float[Tensor, "B C H W"]
    ) -> Float32[Tensor, "B classes"]:
        """Return log probabilities, which serve as logits."""
        views = [images, *self._shifted(images)]
        if self.flip:
            views += [view.flip(-1) for view in views]
        log_probabilities = torch.stack(
            [network(view).float().log_softmax(-1) for view in views]
        )  # (views, B, classes)
        return log_probabilities.logsumexp(0) - math.log(len(views))

    def _shifted(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B C H W"]]:
        if not self.shift:
            return []
        by, (height, width) = self.shift, images.shape[-2:]
        if by >= min(height, width):
            raise UserError(
                f"test_time.shift={by} needs images larger than {height}x{width}.\n"
                "Give a smaller one, or test_time=none."
            )
        padded = F.pad(images, [by] * 4, mode="reflect")
        corners = ((0, by), (2 * by, by), (by, 0), (by, 2 * by))
        return [padded[..., top : top + height, left : left + width] for top, left in corners]
