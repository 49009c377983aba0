"""A network whose training step goes through torch.compile; the network itself stays as it is."""

from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import ShortenTraceback, TorchDynamoException

from lab_engine.base.errors import UserError


class Compiled:
    """A network's `forward`, compiled for training and for the shapes of the first batch.

    Other shapes, such as those of an epoch's last batch, and all without gradients are computed as they were written:
    to compile again for each shape takes longer than those batches. It is no module, so checkpoints keep their names.

    Args:
        network: whose `forward` it is.
        mode: of torch.compile.
    """

    def __init__(self, network: nn.Module, mode: str) -> None:
        self._forward = network.forward
        self._mode = mode
        self._compiled = torch.compile(network.forward, mode=mode, dynamic=False)
        self._shapes: list[torch.Size] | None = None

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Compute as the network does.

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
            if isinstance(error, ShortenTraceback):  # the base of what its compilers raise
                where = "on this machine"
                cure = "A CPU needs a C++ compiler for it, a GPU Triton. Do without: speed.compile=null."
            else:
                where = "with this network"
                cure = "Try speed.compile=null: it shows an error of the network's own, or does without."
            raise UserError(f"speed.compile={self._mode}: torch.compile fails {where}: {reason}\n{cure}") from error


def compile_forward(network: nn.Module, mode: str) -> None:
    """Make the network compute through a `Compiled` in training steps."""
    network.forward = Compiled(network, mode)
