"""How much of the image one value of a layer can depend on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from lenet_lab.anatomy.graph import operation, shape
from lenet_lab.anatomy.window import Pair, Window

# Beside those that PyTorch itself marks as pointwise: each value of the output comes from one place of the input.
KEEP = {
    *("batch_norm", "dropout", "feature_dropout", "contiguous", "clone", "to", "alias", "detach"),
    *("flatten", "unflatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "expand"),
    *("cat", "stack", "chunk", "split", "getitem", "select", "channel_shuffle"),
}
MIX = {  # each value of the output comes from every place of the input
    *("matmul", "bmm", "mm", "addmm", "einsum", "scaled_dot_product_attention", "softmax"),
    *("group_norm", "instance_norm"),
}


@dataclass(frozen=True)
class View:
    """What one value sees of the image, in pixels: (vertical, horizontal).

    Attributes:
        field: size of the part that it can depend on; infinite where that is all.
        jump: from what one value sees to what its neighbour sees.
    """

    field: tuple[float, float]
    jump: tuple[float, float]

    def through(self, slides: Window) -> "View":
        """What one position of a window sees of the image."""
        spans = [dilation * (kernel - 1) for kernel, dilation in zip(slides.kernel, slides.dilation, strict=True)]
        return View(
            (self.field[0] + spans[0] * self.jump[0], self.field[1] + spans[1] * self.jump[1]),
            (self.jump[0] * slides.stride[0], self.jump[1] * slides.stride[1]),
        )

    def clipped(self, image_size: Sequence[int]) -> Pair:
        """The field, as far as it lies in an image of (height, width)."""
        return int(min(self.field[0], image_size[0])), int(min(self.field[1], image_size[1]))


NOTHING = View((0, 0), (1, 1))  # of the image: a parameter, a buffer
PIXEL = View((1, 1), (1, 1))
EVERYTHING = View((math.inf, math.inf), (1, 1))


def look(node: fx.Node, slides: Window | None, views: Sequence[View | None]) -> View | None:
    """Give what a value of this operation sees, from what its inputs see; None where that is not known here.

    A branched network takes the largest view of the branches.
    """
    if EVERYTHING in views or _mixes(node):
        return EVERYTHING
    known = [NOTHING, *(view for view in views if view is not None)]
    if len(known) <= len(views):
        return None
    widest = View(
        (max(view.field[0] for view in known), max(view.field[1] for view in known)),
        (max(view.jump[0] for view in known), max(view.jump[1] for view in known)),
    )
    if slides:
        return widest.through(slides)
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return widest if pointwise or operation(node) in KEEP or _only_channels(node) else None


def _mixes(node: fx.Node) -> bool:
    name, before = operation(node), shape(node.args[0]) if isinstance(node.args[0], fx.Node) else ()
    if name == "linear":
        return len(before) == 2  # after flattening; with more dimensions it mixes channels only
    if name in ("mean", "sum", "amax", "amin"):
        return shape(node)[-2:] != before[-2:]
    return name in MIX or (name == "layer_norm" and not _only_channels(node))


def _only_channels(node: fx.Node) -> bool:
    name = operation(node)
    return name in ("linear", "mean", "sum", "amax", "amin") or (name == "layer_norm" and len(node.args[1]) == 1)  # type: ignore[arg-type]
