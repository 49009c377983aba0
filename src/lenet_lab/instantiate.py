"""Objects from the configuration: what `_target_` names, called with the keys beside it."""

import functools
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from lenet_lab.errors import UserError
from lenet_lab.wording import shortened

if TYPE_CHECKING:
    from torch import nn

    from lenet_lab.test_time import TestTime

Config = dict[str, Any]


def build(node: Config, key: str, **arguments: Any) -> Any:
    """Call what `node["_target_"]` names with the rest of `node` and `arguments`.

    Args:
        node: plain configuration of one object.
        key: where it stands in the configuration, for the message.
        arguments: what does not come from the configuration.

    Raises:
        UserError: there is no such target, or it does not take these arguments.
    """
    try:
        made = instantiate(node, **arguments, _convert_="all")
        if isinstance(made, functools.partial):  # called later, far from here: find a wrong argument now
            inspect.signature(made.func).bind_partial(*made.args, **made.keywords)
    except (InstantiationException, TypeError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, TypeError | ValueError | ImportError | AttributeError | InstantiationException) or (
            type(cause).__name__ == "MisconfigurationException"  # Lightning's, which need not be imported here
        ):
            raise UserError(f"{key} ({node['_target_']}): {_reason(cause)}") from error
        raise cause from None  # a fault of what was called, as if it had been called directly
    return made


def _reason(cause: BaseException) -> str:
    """Say in a line why: what Hydra was told by Python where a target cannot be imported, else the first line."""
    while str(cause).startswith(("Error locating", "Error loading")) and cause.__cause__:
        cause = cause.__cause__
    lines = str(cause).splitlines()
    text = shortened(" ".join(lines if isinstance(cause, InstantiationException) else lines[:1]))
    own = type(cause).__name__ == "MisconfigurationException"
    named = own or isinstance(cause, TypeError | ValueError | ImportError | AttributeError | InstantiationException)
    return text if named and text else f"{type(cause).__name__}: {text}"


def build_each(nodes: dict[str, Config | None], key: str) -> list[Any]:
    """Make the named parts of a group, in order; null switches one off."""
    return [build(node, f"{key}.{name}") for name, node in nodes.items() if node is not None]


def build_network(model: Config, image_shape: Sequence[int], num_classes: int) -> "nn.Module":
    """Make the network for images of `image_shape` (C, H, W): what they are is the data's to say, not `model`'s."""
    from torch import nn

    channels, *image_size = image_shape
    network = build(model, "model", in_channels=channels, image_size=tuple(image_size), num_classes=num_classes)
    if not isinstance(network, nn.Module):
        raise UserError(f"model ({model['_target_']}) makes a {type(network).__name__}: give a torch.nn.Module.")
    return network


def build_test_time(test_time: Config | None, image_shape: Sequence[int]) -> "TestTime":
    """Make what shows the network an image, perhaps in several ways, and try it.

    Raises:
        UserError: it does not fit images of `image_shape` (C, H, W).
    """
    import torch

    from lenet_lab.test_time import once

    if not test_time:
        return once
    made: TestTime = build(test_time, "test_time")
    made(lambda images: torch.zeros(len(images), 2), torch.zeros(1, *image_shape))
    return made
