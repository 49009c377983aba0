"""Training steps through torch.compile, without a change to the module or its `state_dict`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import ShortenTraceback, TorchDynamoException

from lab_engine.base.errors import UserError


class Compiled:
    """A network's `forward`, compiled for training and for the shapes of the first batch.

    Other shapes, such as the last batch of an epoch, and calls without gradients run uncompiled: compiling again for
    each shape would take longer than those batches. It is not a module, so parameters keep their names in checkpoints.

    Args:
        network: the module whose `forward` is compiled.
        mode: of torch.compile.
    """

    def __init__(self, network: nn.Module, mode: str) -> None:
        self._forward = network.forward
        self._mode = mode
        self._compiled = torch.compile(network.forward, mode=mode, dynamic=False)
        self._shapes: list[torch.Size] | None = None

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Return what the network's `forward` returns.

        Raises:
            UserError: this machine cannot compile, or torch.compile cannot follow the network.
        """
        if not torch.is_grad_enabled():
            return self._forward(*arguments, **keywords)
        shapes = [each.shape for each in (*arguments, *keywords.values()) if isinstance(each, Tensor)]
        if self._shapes is None:
            self._shapes = shapes
        if shapes != self._shapes:
            return self._forward(*arguments, **keywords)
        try:
            return self._compiled(*arguments, **keywords)
        except TorchDynamoException as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            if isinstance(error, ShortenTraceback):  # base class of errors of the compiler backends
                where = "on this machine"
                cure = "A CPU needs a C++ compiler, a GPU needs Triton. To train without it: speed.compile=null."
            else:
                where = "with this network"
                cure = "Try speed.compile=null: it trains without compilation, or shows the network's own error."
            raise UserError(f"speed.compile={self._mode}: torch.compile fails {where}: {reason}\n{cure}") from error


def compile_forward(network: nn.Module, mode: str) -> None:
    """Replace the network's `forward` by a `Compiled` one."""
    network.forward = Compiled(network, mode)
