"""Networks of one architecture as one: their parameters lie in the slices of one set of tensors."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

BATCH_FOR_ONE_BY_ONE = 8  # images a network: from here a CPU is faster with one convolution a network than with one
# grouped convolution for all (LeNet, 4 and 16 networks, 1 and 2 threads of an AMD EPYC)


class Stack:
    """Trains several networks at once by `torch.func.vmap`; each still is a module of its own.

    The parameters and buffers of the networks become views of the stacked tensors, so an optimizer of a single network
    changes that network's slice, and each network can be validated and saved by itself at any time.

    Args:
        networks: of one architecture, on one device; parameters that need no gradient need none in all of them.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._one = copy.deepcopy(networks[0]).train()  # only what it computes is used, not what it holds
        self._parameters: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}
        self._slices: list[tuple[Tensor, list[nn.Parameter]]] = []
        for name, first in networks[0].named_parameters():
            own = [network.get_parameter(name) for network in networks]
            self._parameters[name] = _stack(own).requires_grad_(first.requires_grad)
            self._slices.append((self._parameters[name], own))
        for name, _ in networks[0].named_buffers():
            self._buffers[name] = _stack([network.get_buffer(name) for network in networks])
        self._forward = vmap(self._call)  # it refuses networks that draw random numbers: "randomness error"

    def _call(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._one, (parameters, buffers), (images,))
        return logits

    def logits(self, images: Float[Tensor, "K B C H W"]) -> Float[Tensor, "K B classes"]:
        """Give each of K networks its batch, in training mode."""
        one_by_one = images.device.type == "cpu" and images.shape[1] >= BATCH_FOR_ONE_BY_ONE
        with _ConvolutionsOneByOne() if one_by_one else nullcontext():
            return self._forward(self._parameters, self._buffers, images)

    def backward(
        self, images: Float[Tensor, "K B C H W"], labels: Int64[Tensor, "K B"]
    ) -> tuple[Float[Tensor, "K"], Int64[Tensor, "K"]]:
        """Set `grad` of the parameters of every network, by its own mean loss.

        Returns:
            The losses, without a graph; one that is not finite spoils its own network only. How many images each
            network has taken for what they are.
        """
        for stacked, _ in self._slices:
            stacked.grad = None
        logits = self.logits(images)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)
        torch.autograd.backward(losses.sum())
        for stacked, own in self._slices:
            gradients = [None] * len(own) if stacked.grad is None else stacked.grad.unbind()
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
        return losses.detach(), (logits.detach().argmax(2) == labels).sum(1)


def _stack(own: Sequence[Tensor]) -> Tensor:
    """Stack tensors (...) to (K, ...), and make each a view of its slice."""
    stacked = torch.stack([tensor.detach() for tensor in own])
    for tensor, part in zip(own, stacked.unbind(), strict=True):
        tensor.data = part
    return stacked


class _Convolution(torch.autograd.Function):
    """A convolution whose rule for `vmap` is a loop; autograd goes through the loop, so it needs no backward."""

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return torch.conv2d(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *arguments: Any) -> tuple[Tensor, int]:
        of_each = [
            argument.unbind(dim) if isinstance(dim, int) else [argument] * info.batch_size
            for argument, dim in zip(arguments, in_dims, strict=True)
        ]
        return torch.stack([torch.conv2d(*own) for own in zip(*of_each, strict=True)]), 0


def _convolve(
    input: Tensor,  # noqa: A002 - as PyTorch names it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    return _Convolution.apply(input, weight, bias, stride, padding, dilation, groups)


class _ConvolutionsOneByOne(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (_convolve if func is torch.conv2d else func)(*args, **(kwargs or {}))


def why_not_stacked(networks: Sequence[nn.Module], images: Float[Tensor, "B C H W"]) -> str:
    """Say in a line why these networks cannot be trained as one, or nothing: tried on copies of them.

    Args:
        networks: two or more, on one device.
        images: normalized, on that device.
    """
    alone, stacked = ([copy.deepcopy(network).train() for network in networks] for _ in range(2))
    try:
        logits = Stack(stacked).logits(torch.stack([images] * len(networks)))
        torch.autograd.backward(logits.sum())
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        if "randomness" in str(error):
            return "the network draws random numbers as it trains (dropout)"
        return f"torch.func.vmap refuses the network: {str(error).splitlines()[0]}"
    expected = torch.stack([network(images) for network in alone])
    pairs = [(logits, expected)]
    for one, other in zip(stacked, alone, strict=True):
        pairs += zip(one.buffers(), other.buffers(), strict=True)
    if all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in pairs):
        return ""
    return "the network computes something else when it is stacked, or draws random numbers"
