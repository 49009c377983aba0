"""How much of the image one value of a layer can depend on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx

from lab_engine.anatomy.graph import arguments, operation, shape
from lab_engine.anatomy.window import Pair, Window

# Beside those that PyTorch itself marks as pointwise. They count only where they leave height and width in place.
KEEP_PLACES = {
    *("batch_norm", "dropout", "feature_dropout", "contiguous", "clone", "to", "alias", "detach"),
    *("cat", "chunk", "split", "getitem", "channel_shuffle", "view", "reshape", "squeeze", "unsqueeze", "expand"),
    *("mean", "sum", "amax", "amin"),
}
USE_ALL_PLACES = {"group_norm", "instance_norm"}  # their mean and variance do
REDUCE = {"mean", "sum", "amax", "amin"}


@dataclass(frozen=True)
class ReceptiveField:
    """Of one value; (vertical, horizontal), in pixels of the image.

    Attributes:
        size: of the part that the value can depend on; infinite where that is all.
        jump: from the part of one value to that of its neighbour.
        flat: the values of all places are features of one vector now.
    """

    size: tuple[float, float]
    jump: tuple[float, float]
    flat: bool = False

    def through(self, slides: Window) -> "ReceptiveField":
        """Return the field of what slides over these values."""
        spans = [dilation * (kernel - 1) for kernel, dilation in zip(slides.kernel, slides.dilation, strict=True)]
        return ReceptiveField(
            (self.size[0] + spans[0] * self.jump[0], self.size[1] + spans[1] * self.jump[1]),
            (self.jump[0] * slides.stride[0], self.jump[1] * slides.stride[1]),
        )

    def clipped(self, image_size: Sequence[int]) -> Pair:
        """The size, as far as it lies in an image of (height, width)."""
        return int(min(self.size[0], image_size[0])), int(min(self.size[1], image_size[1]))


NOTHING = ReceptiveField((0, 0), (1, 1))  # a parameter, a buffer
PIXEL = ReceptiveField((1, 1), (1, 1))
EVERYTHING = ReceptiveField((math.inf, math.inf), (1, 1), flat=True)


def receptive_field(
    node: fx.Node, slides: Window | None, inputs: Sequence[ReceptiveField | None]
) -> ReceptiveField | None:
    """Return the field of an operation from those of its inputs; None where it is not known here.

    Where branches meet, that is the largest of theirs.
    """
    if all(field == NOTHING for field in inputs):
        return NOTHING
    if any(field is not None and math.inf in field.size for field in inputs) or _uses_all_places(node, inputs):
        return EVERYTHING
    known = [field for field in inputs if field is not None]
    if len(known) < len(inputs):
        return None
    largest = ReceptiveField(
        (max(field.size[0] for field in known), max(field.size[1] for field in known)),
        (max(field.jump[0] for field in known), max(field.jump[1] for field in known)),
        any(field.flat for field in known),
    )
    if slides:
        return largest.through(slides)
    name = operation(node)
    if _is_flattening(node):
        return replace(largest, flat=True)
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return largest if (pointwise or name in KEEP_PLACES) and (largest.flat or _keeps_places(node)) else None


def _uses_all_places(node: fx.Node, inputs: Sequence[ReceptiveField | None]) -> bool:
    name = operation(node)
    if name == "linear":
        return inputs[0] is not None and inputs[0].flat
    if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        return shape(node)[-2:] == (1, 1)
    if name in REDUCE:
        given = arguments(node, "input", "dim")
        dimensions = len(shape(given["input"]))
        reduced = {number % dimensions for number in given.get("dim") or range(dimensions)}
        return dimensions == 4 and reduced >= {2, 3}
    return name in USE_ALL_PLACES


def _is_flattening(node: fx.Node) -> bool:
    return operation(node) in ("flatten", "view", "reshape") and len(shape(node)) == 2 < len(shape(node.args[0]))


def _keeps_places(node: fx.Node) -> bool:
    """Return whether output and inputs are maps (B, C, H, W) of one height and width, as far as they are tensors."""
    if operation(node) in ("chunk", "split"):
        return bool(arguments(node, "input", "how", "dim").get("dim", 0) == 1)
    sizes = [shape(tensor) for tensor in (node, *node.all_input_nodes) if shape(tensor)]
    maps = [size for size in sizes if len(size) == 4 and size[-2:] != (1, 1)]
    return len(shape(node)) == 4 and len({size[-2:] for size in maps}) == 1
