"""A million images that take no room on a disk: a file of zeros, mapped as a store is."""

from pathlib import Path
from typing import Any

import numpy as np

from lab_engine.images.image_set import ImageSet
from lenet_lab.data.datamodule import ImageDataModule

COUNT = 1_000_000
SHAPE = (3, 32, 32)


class Million(ImageDataModule):
    """Images to be a `data._target_`.

    Args:
        folder: where the file goes; 3 GB as it looks, next to nothing as it is.
    """

    def __init__(self, folder: str, **loading: Any) -> None:
        super().__init__(**loading)
        self.file = Path(folder) / "images.npy"

    def load(self) -> tuple[ImageSet, ImageSet]:
        if not self.file.exists():
            np.lib.format.open_memmap(self.file, mode="w+", dtype=np.uint8, shape=(COUNT, *SHAPE))
        images = np.load(self.file, mmap_mode="r")
        labels = np.arange(COUNT) % 10
        classes = tuple(map(str, range(10)))
        return ImageSet(images, labels, classes), ImageSet(images[:1000], labels[:1000], classes)
