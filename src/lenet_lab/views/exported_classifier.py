"""A classifier for other programs: pixels in, logits and probabilities out; it normalizes the pixels itself."""

from typing import Literal

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from lab_engine.training.interface import Exportable
from lenet_lab.tta import single_view
from lenet_lab.views.trained_network import TrainedNetwork

Pixels = UInt8[Tensor, "N C H W"] | Float32[Tensor, "N C H W"]
PixelKind = Literal["uint8", "float"]
PIXELS: dict[str, tuple[torch.dtype, int]] = {"uint8": (torch.uint8, 255), "float": (torch.float32, 1)}
"""The inputs that a file may take: dtype of the pixels, and their largest value."""
OUTPUTS = ("logits", "probabilities")


def exportable_classifier(trained: TrainedNetwork, pixels: PixelKind = "uint8") -> Exportable:
    """Return a trained network and its normalization for `export`, without test-time augmentation.

    Args:
        trained: it loses its gradients.
        pixels: "uint8": the file takes 0 to 255; "float": float32, 0 to 1.
    """
    dtype, largest = PIXELS[pixels]
    shape = (trained.format.channels, trained.format.height, trained.format.width)
    colours = "RGB" if trained.format.channels == 3 else "grey"

    def example(batch: int) -> dict[str, Tensor]:
        images = sample(batch, shape)
        return {"images": images if dtype == torch.uint8 else images.to(dtype) / 255}

    return Exportable(
        module=ExportedClassifier(trained, pixels),
        example=example,
        outputs=OUTPUTS,
        name=type(trained.network).__name__,
        meanings={"images": f"{colours}, 0 to {largest}"},
        metadata={
            "classes": list(trained.classes),
            "image_shape": list(shape),
            "colours": colours,
            "pixel_range": [0, largest],
            "resize": f"{trained.format.resize}, bilinear",
        },
        note=""
        if trained.test_time is single_view
        else f"the run was judged by {trained.test_time}, and the file uses the image alone: its accuracy is lower",
    )


class ExportedClassifier(nn.Module):
    """A network and its normalization as one module; the arguments are those of `exportable_classifier`."""

    def __init__(self, trained: TrainedNetwork, pixels: PixelKind) -> None:
        super().__init__()
        self.normalize, self.network = trained.normalize, trained.network
        self.dtype, self.largest = PIXELS[pixels]

    def forward(self, images: Pixels) -> dict[str, Float32[Tensor, "N classes"]]:
        """Return `OUTPUTS`, by name."""
        pixels = images if self.largest == 255 else images * 255
        logits = self.network(self.normalize(pixels))
        return dict(zip(OUTPUTS, (logits, logits.softmax(1)), strict=True))


def sample(batch: int, image_shape: tuple[int, int, int]) -> UInt8[Tensor, "batch C H W"]:
    """Return a black, a white and a chequered image, then random ones from a fixed seed."""
    images = torch.randint(256, (batch, *image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:1] = 0
    images[1:2] = 255
    images[2:3] = (torch.arange(image_shape[1])[:, None] + torch.arange(image_shape[2])) % 2 * 255
    return images
