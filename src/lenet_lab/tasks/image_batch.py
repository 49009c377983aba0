"""The check of a batch of images and labels."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lab_engine.base.errors import UserError
from lab_engine.base.wording import described


def image_batch(batch: Any, classes: int) -> tuple[Float[Tensor, "B C H W"], Int64[Tensor, "B"]]:
    """Return the images and labels of a batch.

    Args:
        batch: as the data give it.
        classes: how many there are.

    Raises:
        UserError: it is no pair of them.
    """
    pair = isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(each, Tensor) for each in batch)
    if not pair:
        raise UserError(
            f"The data gives batches of {described(batch)}, and this task takes images and labels.\n"
            "Give a pair of tensors: float (B, C, H, W) and int64 (B,)."
        )
    images, labels = batch
    if not images.is_floating_point() or images.ndim != 4:
        raise UserError(
            f"The data gives images of {described(images)}, and this task takes float (B, C, H, W).\n"
            "Convert them in the data module."
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise UserError(
            f"The data gives labels of {described(labels)} for images of {described(images)}.\n"
            f"This task takes a class number for each image: int64 ({len(images)},)."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UserError(
            f"The data gives labels from {int(labels.min())} to {int(labels.max())}, and there are {classes} "
            f"classes.\nLabels are whole numbers from 0 to {classes - 1}."
        )
    return images, labels
