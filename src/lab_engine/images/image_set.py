"""Images with labels, as data modules load them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8


@dataclass(frozen=True)
class ImageSet:
    """N images of one shape, in memory or memory-mapped (then read-only).

    Attributes:
        images: values 0 to 255; C is 1 (grey) or 3 (RGB).
        labels: values 0 to len(classes) - 1.
        classes: names, in the order of the labels.
        skipped: images that were left out because they could not be decoded.
        store: the folder from which they are memory-mapped, if they are.
    """

    images: UInt8[np.ndarray, "N C H W"]
    labels: Int64[np.ndarray, "N"]
    classes: tuple[str, ...]
    skipped: int = 0
    store: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width
