"""Batches cut from stored images: one gather for many of them, no worker processes, no Python per image."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lenet_lab.data.image_set import ImageSet
from lenet_lab.data.split import Rows

IMAGES_A_GATHER = 1024  # enough to make its fixed cost vanish at batch 4, small enough to stay in the processor's cache


class BatchLoader:
    """Goes through the rows of an image set once an epoch.

    With several devices each takes its own share: together they see every row exactly once, nothing is padded or
    dropped, and all of them make the same number of batches (so no device waits for another that has finished).

    Args:
        images: where the rows are taken from.
        rows: int64 (N,), the rows to go through.
        batch_size: images in a batch on one device; some batches are smaller where it does not divide N.
        shuffle_seed: a new order each epoch, drawn from this seed and the epoch; None keeps the order of `rows`.
        rank: this device's number, 0 to world_size - 1.
        world_size: how many devices share the rows.
        epoch: tells the number of the pass that begins, from 0; it chooses the order.
        prepare: applied to many batches at once before they are cut: (N, C, H, W) to (N, C, H, W).
    """

    def __init__(
        self,
        images: ImageSet,
        rows: Rows,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        epoch: Callable[[], int] = lambda: 0,
        prepare: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> None:
        self.images = images
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = epoch
        self.prepare = prepare

    def __len__(self) -> int:
        largest_share = -(-len(self.rows) // self.world_size)
        return -(-largest_share // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give uint8 (B, C, H, W), or what `prepare` makes of it, and int64 (B,) on the CPU."""
        order = self.rows
        if self.shuffle_seed is not None:
            order = np.random.default_rng((self.shuffle_seed, self.epoch())).permutation(order)
        share = order[self.rank :: self.world_size]
        batches = len(self)
        if -(-len(share) // self.batch_size) == batches:  # full batches, and one with the rest
            bounds = np.minimum(np.arange(batches + 1) * self.batch_size, len(share))
        else:  # this share is one batch short of another's: its batches are evened out
            bounds = np.arange(batches + 1) * len(share) // batches
        step = max(IMAGES_A_GATHER // self.batch_size, 1)
        for first in range(0, batches, step):
            cuts = bounds[first : first + step + 1]
            chosen = share[cuts[0] : cuts[-1]]
            sizes = np.diff(cuts).tolist()
            images = self.prepare(torch.from_numpy(np.take(self.images.images, chosen, axis=0)))
            labels = torch.from_numpy(self.images.labels[chosen])
            yield from zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)
