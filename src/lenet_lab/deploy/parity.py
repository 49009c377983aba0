"""Whether a file gives what PyTorch gives."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from lenet_lab.deploy.files import Run
from lenet_lab.deploy.network import Deployed
from lenet_lab.errors import UserError
from lenet_lab.trained_network import TrainedNetwork

BATCHES = (1, 7, 256)
MOST_VALUES = 2**22  # of a batch: large images are compared in smaller ones
TOLERANCE = 1e-4  # of a logit, as a fraction of the largest where that is above 1; rounding leaves about 1e-6


@dataclass(frozen=True)
class Parity:
    """What came of a comparison.

    Attributes:
        batches: images in each.
        difference: the largest between a logit of the file and PyTorch's.
        allowed: the largest that rounding explains.
    """

    batches: tuple[int, ...]
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether rounding explains the difference; never if that is NaN."""
        return self.difference <= self.allowed


@torch.inference_mode()
def compare(trained: TrainedNetwork, deployed: Deployed, run: Run) -> Parity:
    """Run a file beside the network that it was made of, on black, white, chequered and random images.

    Raises:
        UserError: the network itself gives no finite logits.
    """
    most = max(MOST_VALUES // torch.Size(deployed.image_shape).numel(), 1)
    batches = tuple(sorted({min(batch, most) for batch in BATCHES}))
    difference = torch.zeros(())
    largest = torch.ones(())
    for batch in batches:
        images = sample(batch, deployed.image_shape)
        expected = trained(images)
        if not expected.isfinite().all():
            raise UserError(
                "The network of this checkpoint gives logits that are infinite or not a number, and was not exported.\n"
                "Its training has diverged: train it with a smaller optimizer.lr."
            )
        found = run(deployed.given(images))["logits"]
        if found.shape != expected.shape:
            return Parity(batches, float("nan"), TOLERANCE)
        difference = torch.maximum(difference, (found - expected).abs().max())  # NaN stays
        largest = torch.maximum(largest, expected.abs().max())
    return Parity(batches, difference.item(), TOLERANCE * largest.item())


def sample(batch: int, image_shape: tuple[int, int, int]) -> UInt8[Tensor, "batch C H W"]:
    """Give a black, a white and a chequered image, then random ones, always the same."""
    images = torch.randint(256, (batch, *image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:1] = 0
    images[1:2] = 255
    images[2:3] = (torch.arange(image_shape[1])[:, None] + torch.arange(image_shape[2])) % 2 * 255
    return images
