"""Whether the same command and seed must give the same weights, bit for bit, on the same machine and versions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from lab_engine.training.speed import on_cpu


def is_deterministic(config: Mapping[str, Any]) -> bool:
    """Return the Trainer's argument `deterministic`: by default true on a CPU and false on a GPU.

    On a GPU, true also sets the workspace of cuBLAS and stops cuDNN from choosing algorithms by their speed.
    """
    wanted = config.get("deterministic")
    return on_cpu(config["trainer"]) if wanted is None else bool(wanted)


@contextmanager
def counting() -> Iterator[None]:
    """Allow nondeterministic algorithms, for sums of integers: their order does not change the result.

    With deterministic algorithms only, TorchMetrics would count in a way that takes gigabytes of memory.
    """
    wanted, only_warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(wanted, warn_only=only_warns)
