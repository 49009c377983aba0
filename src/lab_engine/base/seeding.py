"""Random numbers that are the same whether or not a run was interrupted."""

import random
from typing import Any

import numpy as np
import torch

CPU = torch.device("cpu")
RandomState = dict[str, Any]
"""States of all generators that a process may draw from: tensors, whole numbers and tuples, fit for a checkpoint."""


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Return the seed of a device's random draws in an epoch: augmentation, dropout.

    With a seed for each epoch, a resumed run draws the same numbers as it would have without the interruption.

    Args:
        seed: of the run.
        epoch: from 0.
        rank: of the device, from 0; each draws its own numbers.
    """
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0] >> 1)


def seed_all(seed: int) -> None:
    """Seed PyTorch's generators of all devices, and those of NumPy and Python, which the user's code may use."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_state(device: torch.device) -> RandomState:
    """Return the state of the generators that `seed_all` seeds, of the CPU and of one other device."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached),
        "python": random.getstate(),
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Restore a state that `random_state` has returned."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state["device"], device)
