"""What leaves this project: images in, logits and probabilities out, with nothing left to do before."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, Literal

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lenet_lab.errors import UserError
from lenet_lab.explain import one_line
from lenet_lab.trained_network import TrainedNetwork

INPUT = "images"
OUTPUTS = ("logits", "probabilities")
Pixels = UInt8[Tensor, "N C H W"] | Float32[Tensor, "N C H W"]
PIXELS: dict[str, tuple[torch.dtype, int]] = {"uint8": (torch.uint8, 255), "float": (torch.float32, 1)}
"""What a file may take: type of the pixels, and the largest value."""


class Deployed(nn.Module):
    """A trained network, without gradients, and its normalization as one module.

    Args:
        trained: its network loses the gradients, too.
        pixels: "uint8": it takes 0 to 255; "float": float32, 0 to 1.
    """

    def __init__(self, trained: TrainedNetwork, pixels: Literal["uint8", "float"]) -> None:
        super().__init__()
        self.normalize, self.network = trained.normalize, trained.network
        self.dtype, self.largest = PIXELS[pixels]
        self.image_shape = (trained.format.channels, trained.format.height, trained.format.width)
        self.requires_grad_(False).eval()

    def forward(self, images: Pixels) -> dict[str, Float32[Tensor, "N classes"]]:
        """Give `OUTPUTS` of images, as this takes them."""
        pixels = images if self.largest == 255 else images * 255
        logits = self.network(self.normalize(pixels))
        return dict(zip(OUTPUTS, (logits, logits.softmax(1)), strict=True))

    def given(self, images: UInt8[Tensor, "N C H W"]) -> Pixels:
        """Give images as this takes them."""
        return images if self.dtype == torch.uint8 else images.to(self.dtype) / 255


def trace(deployed: Deployed) -> ExportedProgram:
    """Follow the network once, for any number of images.

    Raises:
        UserError: its `forward` does what torch.export cannot follow.
    """
    images = deployed.given(torch.zeros(2, *deployed.image_shape, dtype=torch.uint8))  # 1 would be taken for a constant
    try:
        with _without_graphs_of_failures():
            program = torch.export.export(deployed, (images,), dynamic_shapes={INPUT: {0: Dim("N")}})
    except Exception as error:  # whatever the network of a user, or torch.export for it, may raise
        raise cannot(deployed, "torch.export", error) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths and lines of this machine's files
    return program


@contextmanager
def _without_graphs_of_failures() -> Iterator[None]:
    """Keep from the terminal the graph that torch.export prints before it raises, and what means nothing to a user."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")  # "Unable to find user code"
    level, printed = logger.level, io.StringIO()
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(printed), warnings.catch_warnings():
            # of nn.LSTM and its like, whose forward sets them
            warnings.filterwarnings("ignore", message=".*_flat_weights.* were assigned during export")
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        logger.setLevel(level)


def cannot(deployed: Deployed, what: str, error: Exception, cure: str = "") -> UserError:
    """Say in two lines that a network is beyond what exports it, and why."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip(" -") for line in str(cause).splitlines() if line.strip()]
    broken = [line for line in lines if line.startswith(("You marked N", "Not all values of N"))]
    reason = (broken or [one_line(cause)])[0].split(" If you're using")[0]
    place = next((lines[row + 1] for row, line in enumerate(lines[:-1]) if line.endswith("raised this error:")), "")
    return UserError(
        f"model {type(deployed.network).__name__} cannot be exported{cure}. {what} says of it, for N images:\n"
        + " ".join(filter(None, (reason, place)))
    )


def about(trained: TrainedNetwork, deployed: Deployed, checkpoint: str, version: str) -> dict[str, Any]:
    """What a file tells of itself, as plain data."""
    return {
        "classes": list(trained.classes),
        "image_shape": list(deployed.image_shape),
        "colours": "RGB" if trained.format.channels == 3 else "grey",
        "pixel_range": [0, deployed.largest],
        "resize": f"{trained.format.resize}, bilinear",
        "checkpoint": checkpoint,
        "lenet_lab": version,
    }
