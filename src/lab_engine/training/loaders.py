"""Facts about the training data's loaders, and the shares of several devices in an evaluation."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler


def are_stateful(trainer: Trainer) -> bool:
    """Return whether all training loaders have a state, so that a run can resume in the middle of an epoch."""
    combined = trainer.fit_loop._combined_loader
    return combined is not None and all(hasattr(each, "load_state_dict") for each in combined.flattened)


def divide(samples: Any, trainer: Trainer | None, batch_size: int) -> tuple[UnrepeatedDistributedSampler | None, int]:
    """Return the sampler of this device's share, and the size of its batches, with which all devices have as many.

    Each sample is measured once, where PyTorch's own sampler would repeat some.

    Args:
        samples: a dataset with a length.
        trainer: whose devices share it; None: one device.
        batch_size: the largest.

    Returns:
        None for the sampler of one device, which takes all samples.
    """
    if trainer is None or trainer.world_size == 1:
        return None, batch_size
    sampler = UnrepeatedDistributedSampler(
        samples, num_replicas=trainer.world_size, rank=trainer.global_rank, shuffle=False
    )
    return sampler, even_batch_size(len(samples), trainer.world_size, batch_size)


def even_batch_size(samples: int, devices: int, largest: int) -> int:
    """Return a batch size with which all devices have as many batches: one that has no more would keep others waiting.

    Args:
        samples: of all devices, whose shares differ by one at most.
        devices: how many there are.
        largest: what is wanted; the next smaller one that fits is returned.
    """
    less, more = samples // devices, -(-samples // devices)
    fits = (size for size in range(largest, 0, -1) if -(-less // size) == -(-more // size))
    return next(fits, more)
