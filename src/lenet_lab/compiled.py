"""A network whose training step goes through torch.compile; the network itself stays as it is."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._dynamo.exc import ShortenTraceback, TorchDynamoException

from lenet_lab.errors import UserError


class Compiled:
    """Calls a network compiled for the shape of the first batch, and as it is for others: the last one of an epoch.

    To compile again for each shape would take longer than those batches. It is no module, so checkpoints hold the
    network's own names, and all that evaluates, draws or exports the network sees it as it was written.

    Args:
        network: float (B, C, H, W) to logits (B, classes).
        mode: of torch.compile.
    """

    def __init__(self, network: nn.Module, mode: str) -> None:
        self._network = network
        self._mode = mode
        self._compiled = torch.compile(network.forward, mode=mode, dynamic=False)
        self._shape: torch.Size | None = None

    def __call__(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B classes"]:
        """As the network.

        Raises:
            UserError: this machine cannot compile, or torch.compile cannot follow the network.
        """
        if self._shape is None:
            self._shape = images.shape
        if images.shape != self._shape:
            logits: Tensor = self._network(images)
            return logits
        try:
            compiled: Tensor = self._compiled(images)
        except TorchDynamoException as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            if isinstance(error, ShortenTraceback):  # the base of what its compilers raise
                where = "on this machine"
                cure = "A CPU needs a C++ compiler for it, a GPU Triton. Do without: speed.compile=null."
            else:
                where = "with this network"
                cure = "Try speed.compile=null: it shows an error of the network's own, or does without."
            raise UserError(f"speed.compile={self._mode}: torch.compile fails {where}: {reason}\n{cure}") from error
        return compiled
