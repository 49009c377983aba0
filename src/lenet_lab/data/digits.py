"""The handwritten digits that come with the package: no network, no files, no waiting."""

from importlib.resources import files

import numpy as np
from PIL import Image

from lab_engine.images.image_set import ImageSet
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.data.split import stratified_split

CLASSES = tuple("0123456789")
TEST_FRACTION = 0.2
SPLIT_SEED = 0  # the test images are the same in every run, whatever the run's own seeds


class Digits(ImageDataModule):
    """1,797 real handwritten digits, 8x8 pixels of 17 levels, scaled to 1x32x32: 1,438 to train on, 359 to test.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998), the part that
    scikit-learn also ships; embedded by `scripts/embed_digits.py`.
    """

    def load(self) -> tuple[ImageSet, ImageSet]:
        """Return the train and the test images."""
        with files("lenet_lab.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
            small, labels = arrays["images"], arrays["labels"].astype(np.int64)  # (1797, 8, 8), (1797,)
        levels = (small.astype(np.uint16) * 255 // 16).astype(np.uint8)
        images = np.stack([np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BILINEAR)) for x in levels])
        train, test = (
            ImageSet(images[rows, None], labels[rows], CLASSES)  # (N, 1, 32, 32)
            for rows in stratified_split(labels, TEST_FRACTION, SPLIT_SEED)
        )
        return train, test
