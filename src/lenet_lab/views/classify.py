"""The classification of image files by a trained network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lab_engine.base.errors import UserError
from lab_engine.images.decode import decode_batches
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


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "gpu".

    Raises:
        UserError: a GPU is asked for where PyTorch finds none.
    """
    found = [kind for kind, here in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if here.is_available()]
    if name == "gpu" and not found:
        raise UserError("device=gpu is refused: PyTorch finds no GPU here. Leave device at auto, or give cpu.")
    return torch.device(found[0] if found and name != "cpu" else "cpu")


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


@torch.inference_mode()
def _rank(
    trained: TrainedNetwork, images: Sequence[npt.NDArray[np.uint8]], top_k: int
) -> list[tuple[tuple[int, float], ...]]:
    if not images:
        return []
    device = trained.normalize.scale.device
    logits = trained(torch.from_numpy(np.stack(images)).to(device))
    best = logits.softmax(1).topk(min(top_k, logits.shape[1]), dim=1)
    numbers, probabilities = best.indices.tolist(), best.values.tolist()
    return [tuple(zip(*pair, strict=True)) for pair in zip(numbers, probabilities, strict=True)]
