"""Random numbers that do not depend on how a run got to where it is."""

import numpy as np


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Give the seed of what a device draws at random in an epoch: augmentation, dropout.

    With a seed for each epoch, a run that continues from a checkpoint draws what it would have drawn without the
    interruption.

    Args:
        seed: of the run.
        epoch: from 0.
        rank: of the device, from 0; each draws its own numbers.
    """
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0] >> 1)
