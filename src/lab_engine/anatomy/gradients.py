"""The backward graph of a training step, and the gradient of each parameter."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab_engine.base.errors import UserError

IMAGES = 4  # batch size, that of PyTorch's CIFAR-10 tutorial


@dataclass(frozen=True)
class BackwardNode:
    """One node of the backward graph.

    Attributes:
        number: index of the node; that of the loss is 0.
        function: name, such as "ConvolutionBackward0".
        next: numbers of the nodes to which it passes gradients.
        leaves: names of the parameters whose gradients it computes.
    """

    number: int
    function: str
    next: tuple[int, ...]
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class Gradient:
    """The gradient of a parameter; norms are Euclidean.

    Attributes:
        name: of the parameter.
        shape: of the parameter and its gradient.
        weight_norm: before the update.
        gradient_norm: None for a parameter that the loss does not depend on.
    """

    name: str
    shape: tuple[int, ...]
    weight_norm: float
    gradient_norm: float | None


@dataclass(frozen=True)
class Step:
    """A forward and backward pass over random images with random labels."""

    loss: float
    backward: list[BackwardNode]
    gradients: list[Gradient]


def step(network: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> Step:
    """Run a forward and backward pass on images drawn uniformly from [-1, 1], with random labels.

    The network is left in training mode, with gradients. Numbers are drawn from torch's global generator.

    Raises:
        UserError: the network does not return logits (B, num_classes), or they do not depend on parameters.
    """
    network.train()
    network.zero_grad()
    logits = network(2 * torch.rand(IMAGES, *image_shape) - 1)
    given = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if given != (IMAGES, num_classes):
        raise UserError(
            f"{type(network).__name__} returns {given} for {IMAGES} images in training, not {(IMAGES, num_classes)}.\n"
            "A training step needs num_classes logits for each image: leave out gradients=true, or fix the network."
        )
    if not logits.requires_grad:
        raise UserError(
            f"{type(network).__name__} has no parameter that its logits depend on, so there is no gradient to show.\n"
            "Leave out gradients=true, or look for detach() and no_grad() in its forward."
        )
    loss = F.cross_entropy(logits, torch.randint(num_classes, (IMAGES,)))
    graph = list(backward_graph(loss, {id(parameter): name for name, parameter in network.named_parameters()}))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [
        Gradient(
            name,
            tuple(parameter.shape),
            float(parameter.detach().norm()),
            None if parameter.grad is None else float(parameter.grad.norm()),
        )
        for name, parameter in network.named_parameters()
    ]
    return Step(float(loss.detach()), graph, gradients)


def backward_graph(loss: Tensor, names: dict[int, str]) -> Iterator[BackwardNode]:
    """Yield the nodes of the backward graph, in breadth-first order from the loss.

    Args:
        loss: a tensor with a `grad_fn`.
        names: of the leaves, by their `id`. A leaf is listed with the node before it, and is no node of its own;
            likewise a leaf behind a transposition.
    """
    numbers: dict[Any, int] = {loss.grad_fn: 0}
    waiting = [loss.grad_fn]
    for node in waiting:
        leaves, following = [], []
        for function in (function for function, _ in node.next_functions if function is not None):  # type: ignore[union-attr]
            leaf = _leaf(function)
            if leaf is not None:
                leaves.append(names.get(id(leaf), "a tensor"))
                continue
            if function not in numbers:
                numbers[function] = len(numbers)
                waiting.append(function)
            following.append(numbers[function])
        yield BackwardNode(numbers[node], node.name(), tuple(following), tuple(leaves))  # type: ignore[union-attr]


def _leaf(function: Any) -> Tensor | None:
    """Return the leaf of an AccumulateGrad node, or of a transposition before one; None for other nodes."""
    if function.name() == "TBackward0":
        function = function.next_functions[0][0]
    leaf: Tensor | None = getattr(function, "variable", None)
    return leaf
