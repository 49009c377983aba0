"""A larger data set for measurements: the images of a folder, repeated."""

from pathlib import Path
from typing import Any

import numpy as np
from command import on_images
from images import data_module

from lab_engine.images.image_set import ImageSet
from lab_engine.images.store import StoreWriter, open_store
from lenet_lab.data.datamodule import ImageDataModule


class Repeated(ImageDataModule):
    """The train images of a folder, repeated `times` times in a store of their own; test images are not repeated.

    Decoded rows are repeated, not files, because only training on decoded images is measured.

    Args:
        root: folder with train/<class>/* and test/<class>/*.
        cache: folder for the store.
        stored: repetitions in the store, the same for all sizes: smaller ones take its first rows.
        times: at most `stored`.
    """

    def __init__(self, root: str, cache: str, stored: int, times: int, **loading: Any) -> None:
        super().__init__(**loading)
        self.root = Path(root)
        self.cache = Path(cache)
        self.stored = stored
        self.times = times

    def load(self) -> tuple[ImageSet, ImageSet]:
        """Return the train and the test images."""
        train, test = data_module(*on_images(self.root)).load()

        def make(store: StoreWriter) -> None:
            target = np.load(store.create(self.stored * len(train), train.image_shape), mmap_mode="r+")
            for start in range(0, len(target), len(train)):
                target[start : start + len(train)] = train.images
            store.finish(np.tile(train.labels, self.stored), train.classes)

        whole = open_store(self.cache, f"repeated-{self.stored}", make)
        rows = self.times * len(train)
        return ImageSet(whole.images[:rows], whole.labels[:rows], whole.classes), test
