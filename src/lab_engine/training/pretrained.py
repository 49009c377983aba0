"""A network that starts from the weights of another, and parts of it that are not trained."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted
from lab_engine.config.instantiate import MAX_NAMES

OF_MODEL = ("init_from", "freeze")
"""Keys of `model` that are the program's business, and no arguments."""
PREFIXES = ("network.", "model.", "module.", "_orig_mod.")
"""What a file may put before the names of a network's weights, one of them or several."""


def load_pretrained(network: nn.Module, file: str) -> str:
    """Load the weights of a file whose names and shapes are those of the network, and leave the others as they are.

    Args:
        network: on the CPU.
        file: a state dictionary of tensors, perhaps below "state_dict", as checkpoints have it.

    Returns:
        How many were loaded, in words.

    Raises:
        UserError: the file cannot be read, holds more than tensors and plain data, or has no weight that fits.
    """
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"model.init_from={file}: {error.strerror}. Give a file of weights.") from error
    except Exception as error:
        raise UserError(
            f"model.init_from={file} is no file of weights, or holds more than tensors and plain data.\n"
            "It was not used. Give one that torch.save(network.state_dict(), FILE) has written."
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise UserError(
            f"model.init_from={file} holds a {type(found).__name__}, not weights by their names.\n"
            "Give a file that torch.save(network.state_dict(), FILE) has written."
        )
    weights = {_plain(str(name)): value for name, value in found.items() if isinstance(value, Tensor)}
    own = network.state_dict()
    fit = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fit:
        raise UserError(
            f"model.init_from={file} has no weight that fits {type(network).__name__}.\n"
            f"weights there: {_some(list(weights))}; of the network: {_some(list(own))}"
        )
    network.load_state_dict(fit, strict=False)
    rest = [name for name in own if name not in fit]
    return f"{len(fit)} of {counted(len(own), 'tensor')} from {Path(file).name}" + (
        f", all but {_some(rest)}" if rest else ""
    )


def freeze(network: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude weights from training.

    Args:
        network: in place.
        patterns: of the weights' names, such as `layer*`, or `!fc.*` for those that are trained all the same.

    Raises:
        UserError: a pattern fits no name, or nothing would be frozen, or nothing trained.
    """
    names = dict(network.named_parameters())
    for pattern in patterns:
        fits = fnmatch.filter(names, pattern.removeprefix("!"))
        if not fits:
            raise UserError(f"model.freeze has {pattern}, which fits no parameter.\nparameters: {_some(list(names))}")
        for name in fits:
            names[name].requires_grad_(pattern.startswith("!"))
    if all(parameter.requires_grad for parameter in names.values()) and patterns:
        raise UserError(
            f"model.freeze={list(patterns)} freezes nothing: a pattern that begins with ! makes an exception of those "
            "before it.\nBegin with '*' to freeze all others."
        )
    if not any(parameter.requires_grad for parameter in names.values()):
        raise UserError(f"model.freeze={list(patterns)} leaves nothing to train.\nparameters: {_some(list(names))}")


def _plain(name: str) -> str:
    while prefix := next((each for each in PREFIXES if name.startswith(each)), ""):
        name = name.removeprefix(prefix)
    return name


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
