"""What a data module of the user's own may load."""

from typing import Any

import numpy as np
import pytest

from lab_engine.base.errors import UserError
from lab_engine.images.image_set import ImageSet
from lenet_lab.data.datamodule import ImageDataModule


class Own(ImageDataModule):
    def __init__(self, images: Any, labels: Any) -> None:
        super().__init__(validation=0.5)
        self.given = images, labels

    def load(self) -> tuple[ImageSet, ImageSet]:
        images = ImageSet(PIXELS, LABELS, ("a", "b"))
        for name, value in zip(("images", "labels"), self.given, strict=True):
            object.__setattr__(images, name, value)  # which the tests' own checks of types would refuse
        return images, images


PIXELS, LABELS = np.zeros((8, 1, 4, 6), np.uint8), np.arange(8) % 2


def test_the_facts_are_those_of_the_images() -> None:
    data = Own(PIXELS, LABELS)
    data.setup()
    assert data.model_arguments() == {
        "in_channels": 1,
        "image_size": [4, 6],
        "num_classes": 2,
        "classes": ["a", "b"],
        "mean": 0.5,
        "std": 0.5,
    }
    assert data.values_per_batch() == 4 * 24
    assert data.describe()["data"] == "2 classes, 1x4x6, 4 train, 4 validation, 8 test images"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            PIXELS.astype(np.float32),
            LABELS,
            r"train images of float32 \(8, 1, 4, 6\) for 8 labels\.\nThey must be",
        ),
        (PIXELS[:, 0], LABELS, r"images of uint8 \(8, 4, 6\) for 8 labels"),
        (PIXELS.repeat(2, 1), LABELS, r"images of uint8 \(8, 2, 4, 6\)"),
        (PIXELS[:7], LABELS, r"images of uint8 \(7, 1, 4, 6\) for 8 labels"),
        (PIXELS, LABELS.astype(np.float32), r"labels of float32 \(8,\)\.\nThey must be int64"),
        (PIXELS, np.eye(2, dtype=np.int64)[LABELS], r"labels of int64 \(8, 2\)\."),
        (PIXELS, LABELS + 1, r"labels from 1 to 2 for 2 classes\.\nThey must be whole numbers from 0 to 1\."),
    ],
)
def test_what_would_be_taken_wrongly_is_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Own(images, labels).setup()
