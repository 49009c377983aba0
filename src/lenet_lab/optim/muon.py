"""Muon for whole networks: convolutions, linear layers, and the biases between them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024."""
ITERATIONS = 5


class Muon(Optimizer):
    """Steps along the gradient with all its singular values brought near one; updates biases and other vectors by Adam.

    `torch.optim.Muon` takes matrices only. Here a convolution's weights are the matrix (outputs, inputs · height ·
    width), and parameters of less than two dimensions are updated by Adam, so that it takes all of a network.

    Args:
        params: of the network, or groups of them.
        lr: learning rate; a step moves a matrix by about this much in spectral norm, times sqrt(rows / columns) if it
            has more rows than columns.
        momentum: of the gradient, as Nesterov's, below 1.
        weight_decay: of matrices, decoupled: a step subtracts lr · weight_decay of each weight.
        vector_lr: learning rate of Adam, as a fraction of `lr`.
        vector_betas: of Adam.
        eps: of Adam.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        vector_lr: float = 0.1,
        vector_betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "vector_lr": vector_lr,
            "vector_betas": tuple(vector_betas),
            "eps": eps,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            pairs = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
            for parameter, gradient in pairs:
                if parameter.ndim >= 2:
                    self._step_matrix(parameter, gradient, group)
            if vectors := [pair for pair in pairs if pair[0].ndim < 2]:
                self._step_vectors(vectors, group)
        return loss

    def _step_matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(average, group["momentum"]).flatten(1)  # (outputs, all other dimensions)
        rows, columns = ahead.shape
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(orthogonalize(ahead).view_as(parameter), alpha=rate)

    def _step_vectors(self, vectors: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        (beta1, beta2), (parameters, gradients) = group["vector_betas"], map(list, zip(*vectors, strict=True))
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": 0,
                    "mean": torch.zeros_like(parameter),
                    "square": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        for state in states:
            state["step"] += 1
        steps = [state["step"] for state in states]  # fewer for a layer that was frozen at first
        spread = torch._foreach_sqrt(squares)
        torch._foreach_div_(spread, [(1 - beta2**step) ** 0.5 for step in steps])
        torch._foreach_add_(spread, group["eps"])
        rate = group["lr"] * group["vector_lr"]
        torch._foreach_addcdiv_(parameters, means, spread, [-rate / (1 - beta1**step) for step in steps])


def orthogonalize(matrix: Float[Tensor, "R C"]) -> Float[Tensor, "R C"]:
    """Return the matrix with its singular values moved near one (0.7 to 1.2), and the same singular vectors."""
    a, b, c = QUINTIC
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T  # so that the square products are small
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if len(matrix) <= matrix.shape[1] else wide.T
