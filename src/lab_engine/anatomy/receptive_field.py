"""Compute the receptive field of each layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx

from lab_engine.anatomy.graph import arguments, operation, shape
from lab_engine.anatomy.window import Pair, Window

# In addition to the operations that PyTorch tags as pointwise; only if they do not change height and width.
KEEP_POSITIONS = {
    *("batch_norm", "dropout", "feature_dropout", "contiguous", "clone", "to", "alias", "detach"),
    *("cat", "chunk", "split", "getitem", "channel_shuffle", "view", "reshape", "squeeze", "unsqueeze", "expand"),
    *("mean", "sum", "amax", "amin"),
}
USE_ALL_POSITIONS = {"group_norm", "instance_norm"}  # for mean and variance
REDUCTIONS = {"mean", "sum", "amax", "amin"}


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of one value; (vertical, horizontal), in pixels of the image.

    Attributes:
        size: of the field; infinite if it is the whole image.
        jump: distance between the fields of neighbouring values.
        flat: whether the feature map has been flattened to a vector.
    """

    size: tuple[float, float]
    jump: tuple[float, float]
    flat: bool = False

    def through(self, slides: Window) -> "ReceptiveField":
        """Return the field after a window that slides over these values."""
        spans = [dilation * (kernel - 1) for kernel, dilation in zip(slides.kernel, slides.dilation, strict=True)]
        return ReceptiveField(
            (self.size[0] + spans[0] * self.jump[0], self.size[1] + spans[1] * self.jump[1]),
            (self.jump[0] * slides.stride[0], self.jump[1] * slides.stride[1]),
        )

    def clipped(self, image_size: Sequence[int]) -> Pair:
        """Return the size, at most that of an image of (height, width)."""
        return int(min(self.size[0], image_size[0])), int(min(self.size[1], image_size[1]))


NOTHING = ReceptiveField((0, 0), (1, 1))  # a parameter, a buffer
PIXEL = ReceptiveField((1, 1), (1, 1))
EVERYTHING = ReceptiveField((math.inf, math.inf), (1, 1), flat=True)


def receptive_field(
    node: fx.Node, slides: Window | None, inputs: Sequence[ReceptiveField | None]
) -> ReceptiveField | None:
    """Return the field of an operation from those of its inputs; None if it is not known.

    With several inputs, it is computed from the largest size and jump among them.
    """
    if all(field == NOTHING for field in inputs):
        return NOTHING
    if any(field is not None and math.inf in field.size for field in inputs) or _uses_all_positions(node, inputs):
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
    return largest if (pointwise or name in KEEP_POSITIONS) and (largest.flat or _keeps_positions(node)) else None


def _uses_all_positions(node: fx.Node, inputs: Sequence[ReceptiveField | None]) -> bool:
    name = operation(node)
    if name == "linear":
        return inputs[0] is not None and inputs[0].flat
    if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        return shape(node)[-2:] == (1, 1)
    if name in REDUCTIONS:
        given = arguments(node, "input", "dim")
        dimensions = len(shape(given["input"]))
        reduced = {number % dimensions for number in given.get("dim") or range(dimensions)}
        return dimensions == 4 and reduced >= {2, 3}
    return name in USE_ALL_POSITIONS


def _is_flattening(node: fx.Node) -> bool:
    return operation(node) in ("flatten", "view", "reshape") and len(shape(node)) == 2 < len(shape(node.args[0]))


def _keeps_positions(node: fx.Node) -> bool:
    """Return whether the output and all tensor inputs are maps (B, C, H, W) of the same height and width."""
    if operation(node) in ("chunk", "split"):
        return bool(arguments(node, "input", "how", "dim").get("dim", 0) == 1)
    sizes = [shape(tensor) for tensor in (node, *node.all_input_nodes) if shape(tensor)]
    maps = [size for size in sizes if len(size) == 4 and size[-2:] != (1, 1)]
    return len(shape(node)) == 4 and len({size[-2:] for size in maps}) == 1
