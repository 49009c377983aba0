"""Which test images a report shows, and their picture."""

from dataclasses import dataclass

import numpy as np

from lab_engine.base.pictures import GREEN, RED, grid, png_url
from lab_engine.images.image_set import ImageSet
from lenet_lab.views.predictions import Predictions

COLUMNS, ROWS = 4, 5  # as many as can be read on a phone
MAX_MISTAKES = 12


@dataclass(frozen=True)
class Samples:
    """Test images with their predictions.

    Attributes:
        mistakes: how many the network got wrong; these come first.
        right: how many it got right.
        picture: PNG, as a data URL.
        width: of the picture, in pixels.
        height: likewise.
        captions: the text below each image, on one line.
    """

    mistakes: int
    right: int
    picture: str
    width: int
    height: int
    captions: list[str]


def draw_samples(images: ImageSet, predictions: Predictions) -> Samples:
    """Draw the most confident mistakes, then correct answers as far as there is room: the first of each class in turn.

    Args:
        images: of the test.
        predictions: of this device's share of them.
    """
    wrong = predictions.predicted != predictions.labels
    by_confidence = np.argsort(-np.nan_to_num(predictions.confidence), kind="stable")
    mistakes = by_confidence[wrong[by_confidence]][:MAX_MISTAKES]
    right = np.flatnonzero(~wrong)
    position = np.zeros(len(right), np.int64)  # among the correct answers of the class
    for label in np.unique(predictions.labels[right]):
        same = predictions.labels[right] == label
        position[same] = np.arange(same.sum())
    right = right[np.lexsort((predictions.labels[right], position))][: COLUMNS * ROWS - len(mistakes)]

    captions, colours = [], []
    for number in (*mistakes, *right):
        taken, label = (_one_line(images.classes[of[number]]) for of in (predictions.predicted, predictions.labels))
        sure = f"{predictions.confidence[number]:.0%}"
        captions.append(f"{sure} {taken}" + (f"\nis {label}" if wrong[number] else ""))
        colours.append(RED if wrong[number] else GREEN)
    pixels = [np.asarray(images.images[predictions.rows[number]]) for number in (*mistakes, *right)]
    picture = grid(pixels, captions, colours, columns=COLUMNS)
    return Samples(
        mistakes=len(mistakes),
        right=len(right),
        picture=png_url(picture),
        width=picture.width,
        height=picture.height,
        captions=[caption.replace("\n", ", ") for caption in captions],
    )


def _one_line(name: str) -> str:
    return " ".join(name.split())
