"""A trained network with the preparation of its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lab_engine.images.decode import ImageFormat
from lenet_lab.data.normalize import Normalize
from lenet_lab.tta import TTA, single_view

Side = Annotated[int, Field(ge=1, le=1 << 14)]  # beyond, a file of a few bytes could ask for gigabytes


class ImageFacts(BaseModel):
    """The facts of an `ImageDataModule` about its images, as a checkpoint stores them."""

    in_channels: Literal[1, 3]
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    classes: list[str]
    mean: float | list[float]
    std: float | list[float]
    resize: Literal["stretch", "crop", "pad"] = "stretch"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode, and the preparation of its images.

    Attributes:
        network: float (B, C, H, W), normalized, to logits (B, classes).
        normalize: uint8 (B, C, H, W) to the input of `network`.
        classes: names, in the order of the logits.
        format: of the images.
        test_time: see `lenet_lab.tta`.
    """

    network: nn.Module
    normalize: Normalize
    classes: tuple[str, ...]
    format: ImageFormat
    test_time: TTA = single_view

    def to(self, device: torch.device) -> None:
        """Move the network and the preparation of its images to a device."""
        self.network.to(device)
        self.normalize.to(device)

    def __call__(self, images: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B classes"]:
        """Return the logits of stored images, on the network's device."""
        return self.test_time(self.network, self.normalize(images))


def trained_network(network: nn.Module, facts: Mapping[str, Any], test_time: TTA = single_view) -> TrainedNetwork:
    """Join a network with the preparation of its images.

    Args:
        network: as in `TrainedNetwork`; it is put into evaluation mode.
        facts: of the data that it was trained on, see `ImageFacts`.
        test_time: see `lenet_lab.tta`.

    Raises:
        UserError: the facts do not say how images are prepared.
    """
    try:
        known = ImageFacts.model_validate(dict(facts))
        normalize = Normalize(known.mean, known.std)
    except (ValidationError, RuntimeError) as error:
        raise UserError(
            "The checkpoint does not say how its images are prepared (size, channels, mean, std, classes), "
            "and was not used."
        ) from error
    height, width = known.image_size
    image_format = ImageFormat(known.in_channels, height, width, known.resize)
    return TrainedNetwork(network.eval(), normalize, tuple(known.classes), image_format, test_time)
