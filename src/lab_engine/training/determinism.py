"""Whether the same command and seed are to give the same weights, bit for bit, on the same machine and versions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from lab_engine.training.speed import on_cpu


def is_deterministic(config: Mapping[str, Any]) -> bool:
    """Return whether PyTorch is to use deterministic algorithms only; the Trainer, which gets the answer, tells it so.

    On a GPU that also sets the workspace of cuBLAS and keeps cuDNN from choosing algorithms by their times.

    Args:
        config: checked.
    """
    wanted = config.get("deterministic")
    return on_cpu(config["trainer"]) if wanted is None else bool(wanted)


@contextmanager
def counting() -> Iterator[None]:
    """Allow whole numbers to be added up in any order: the sum is the same.

    TorchMetrics would count in another way where only deterministic algorithms may be used, which takes gigabytes.
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
