"""Images with labels: what every data source gives and everything else consumes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Int64, UInt8


@dataclass(frozen=True)
class ImageSet:
    """N images of one shape, in memory or memory-mapped (then read-only).

    Attributes:
        images: values 0 to 255; C is 1 (grey) or 3 (RGB).
        labels: values 0 to len(classes) - 1.
        classes: names, in the order of the labels.
        skipped: files that were left out because they could not be decoded.
        store: the folder that they are mapped from, if they are.
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


class Source(Protocol):
    """Where images come from: a class with this one method can be a `data._target_`."""

    def load(self) -> tuple[ImageSet, ImageSet]:
        """Give the train and the test images; fetch and decode them first if that was not done yet.

        Safe when several processes call it at once: one does the work, the others wait for its result.

        Raises:
            UserError: the images cannot be had; the text says what to do.
        """
        ...
