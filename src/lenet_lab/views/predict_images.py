"""The classification of image files and arrays by a trained network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from lab_engine.base.errors import UserError
from lab_engine.base.wording import described
from lab_engine.images.decode import ImageFormat, convert, decode_batches
from lenet_lab.views.trained_network import TrainedNetwork


@dataclass(frozen=True)
class Prediction:
    """The prediction for a file.

    Attributes:
        file: its path, or its content.
        ranked: class numbers and probabilities 0 to 1, most probable first; empty if the file could not be read.
        pixels: uint8 (C, H, W), resized for the network; None if the file could not be read.
        problem: why the file could not be read, or "".
    """

    file: str | bytes
    ranked: tuple[tuple[int, float], ...] = ()
    pixels: npt.NDArray[np.uint8] | None = None
    problem: str = ""


class Classified(NamedTuple):
    """The classes of images.

    Attributes:
        names: of the most probable class of each image.
        probabilities: float32 (N, classes), each row adds up to 1.
        classes: names, in the order of the columns.
    """

    names: list[str]
    probabilities: npt.NDArray[np.float32]
    classes: tuple[str, ...]


def classify(
    trained: TrainedNetwork, files: Sequence[str | bytes], batch_size: int, top_k: int
) -> Iterator[Prediction]:
    """Predict in the order of `files`, a few batches in memory at a time, in 32-bit floats.

    Args:
        trained: on the device that is to compute.
        files: paths, or files' contents.
        batch_size: images in a batch, at most.
        top_k: classes for each image; all of them if there are fewer.

    Raises:
        UserError: see `lab_engine.images.decode.decode_batches`.
    """
    remaining = iter(files)
    for decoded in decode_batches(files, trained.format, batch_size):
        ranked = iter(_rank(trained, [image for image in decoded if not isinstance(image, str)], top_k))
        for image in decoded:
            file = next(remaining)
            if isinstance(image, str):
                yield Prediction(file, problem=image)
            else:
                yield Prediction(file, next(ranked), image)


def classify_arrays(
    trained: TrainedNetwork, images: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8]], batch_size: int = 256
) -> Classified:
    """Predict the classes of arrays, in 32-bit floats; pixels are converted as those of files are.

    Args:
        trained: on the device that is to compute.
        images: uint8 (N, H, W, C), 0 to 255, with C = 1 (grey), 3 (RGB) or 4 (RGBA); one image, (H, W, C); or a list of
            images, each of its own size.
        batch_size: images in a batch, at most.

    Raises:
        UserError: an image has another dtype or shape.
    """
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = images[None]
    found = [np.empty((0, len(trained.classes)), np.float32)]
    for start in range(0, len(images), batch_size):
        batch = [_converted(image, trained.format) for image in images[start : start + batch_size]]
        found.append(_probabilities(trained, batch).cpu().numpy())
    probabilities = np.concatenate(found)
    return Classified([trained.classes[best] for best in probabilities.argmax(1)], probabilities, trained.classes)


def _converted(image: npt.NDArray[np.uint8], wanted: ImageFormat) -> npt.NDArray[np.uint8]:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4) or not pixels.size:
        raise UserError(
            f"An image is {described(pixels)}, and uint8 (H, W, C), 0 to 255, is needed; C is 1 (grey), 3 (RGB) or 4 "
            "(RGBA).\nFrom numbers of 0 to 1: (255 * x).round().astype('uint8'); from (N, C, H, W): "
            "x.transpose(0, 2, 3, 1); from (N, H, W): x[..., None]."
        )
    return convert(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), wanted)


@torch.inference_mode()
def _probabilities(trained: TrainedNetwork, images: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
    device = trained.normalize.scale.device
    return trained(torch.from_numpy(np.stack(images)).to(device)).softmax(1)


def _rank(
    trained: TrainedNetwork, images: Sequence[npt.NDArray[np.uint8]], top_k: int
) -> list[tuple[tuple[int, float], ...]]:
    if not images:
        return []
    best = _probabilities(trained, images).topk(min(top_k, len(trained.classes)), dim=1)
    numbers, probabilities = best.indices.tolist(), best.values.tolist()
    return [tuple(zip(*pair, strict=True)) for pair in zip(numbers, probabilities, strict=True)]
