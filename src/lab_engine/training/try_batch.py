"""Try a network, a loss or a metric on a batch, without a trace in its state."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lab_engine.base.wording import described, shortened
from lab_engine.config.explain import explain


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode, and each of its modules to its own mode afterwards."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def without_trace(network: nn.Module, inputs: Any) -> Iterator[None]:
    """Compute in evaluation mode: no gradients, statistics or random numbers are left."""
    on_gpu = [inputs.device] if isinstance(inputs, Tensor) and inputs.is_cuda else []
    with evaluating(network), torch.no_grad(), torch.random.fork_rng(devices=on_gpu):
        yield


def outputs_of(network: nn.Module, call: Callable[[Any], Any], inputs: Any) -> Any:
    """Return what `call(inputs)` gives, which shows `inputs` to the network.

    Raises:
        UserError: the network cannot take them.
    """
    try:
        with without_trace(network, inputs):
            return call(inputs)
    except (RuntimeError, ValueError, TypeError) as error:
        if explain(error) is not None:  # there is no memory, or no deterministic form
            raise
        raise UserError(
            f"The network {type(network).__name__} cannot take {described(inputs)}: {_reason(error)}"
        ) from error


def refuse_unfit(judge: Any, call: Callable[[Any, Any], Any], outputs: Any, targets: Any, key: str) -> None:
    """Try a loss or a metric on the outputs and targets of a batch; a warning counts as an error.

    Args:
        judge: the loss or metric, whose name is told.
        call: what it does with them; PyTorch's losses only warn of shapes that it would stretch to each other.
        outputs: of the network.
        targets: of the data.
        key: of the judge in the configuration.

    Raises:
        UserError: it cannot compare them.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("error", message="Using a target size")
            call(outputs, targets)
    except Exception as error:
        if explain(error) is not None:
            raise
        name = getattr(judge, "__name__", type(judge).__name__)
        raise UserError(
            f"{key} ({name}) cannot compare outputs {described(outputs)} with targets {described(targets)}: "
            f"{_reason(error)}\nMake the last layer, the targets of the data or {key} fit the others."
        ) from error


def _reason(error: Exception) -> str:
    return shortened(next(iter(str(error).splitlines()), type(error).__name__))
