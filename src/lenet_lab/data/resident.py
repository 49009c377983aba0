"""Images that stay in the memory of the device that computes on them: no step waits for a copy."""

import logging

import psutil
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lab_engine.images.image_set import ImageSet

log = logging.getLogger(__name__)

MAX_SHARE = 0.5  # of the free memory; the rest is for the network and other programs


class ResidentImages:
    """A copy of an image set on a device.

    Args:
        images: what to copy.
        device: where to.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
    """

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.images = torch.tensor(images.images, device=device)
        self.labels = torch.tensor(images.labels, device=device)

    def take(self, rows: Int64[Tensor, "B"]) -> tuple[UInt8[Tensor, "B C H W"], Int64[Tensor, "B"]]:
        """Return the images and labels of these rows, all on the device."""
        return self.images.index_select(0, rows), self.labels.index_select(0, rows)


def make_resident(images: ImageSet, device: torch.device) -> ResidentImages | None:
    """Copy images to the device; if that would take more than `MAX_SHARE` of its free memory, warn and return None."""
    needed, free = images.images.nbytes + images.labels.nbytes, free_bytes(device)
    if needed > MAX_SHARE * free:
        log.warning(
            "speed.data_on_device: the images take %.1f GB, and %.1f GB are free on %s. They stay on the host.",
            needed / 1e9,
            free / 1e9,
            device,
        )
        return None
    return ResidentImages(images, device)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
