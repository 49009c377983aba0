"""Batches from stored images: one gather for many batches, no worker processes, no Python per image."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from lab_engine.base.errors import UserError
from lab_engine.base.seeding import CPU, RandomState, random_state, set_random_state
from lab_engine.base.wording import counted
from lab_engine.images.image_set import ImageSet
from lenet_lab.data.resident import ResidentImages
from lenet_lab.data.split import Rows

IMAGES_PER_GATHER = 1024  # many small batches share its fixed cost, and they stay in the processor's cache
IMAGES_PER_GATHER_ON_GPU = 16384  # fewer calls; of CIFAR-10 it is 200 MB as float32


class BatchLoader:
    """Goes through the rows of an image set once an epoch.

    With several devices each takes its own share: together they see every row exactly once, nothing is padded or
    dropped, and all devices make the same number of batches, so that none waits for one that has finished.

    Args:
        images: uint8 (…, C, H, W) and their labels.
        rows: int64 (N,), the rows of `images` to go through.
        batch_size: images in a batch on one device; some batches are smaller where it does not divide N.
        shuffle_seed: a new order each epoch, drawn from this seed and the epoch; None keeps the order of `rows`.
        rank: this device's number, 0 to world_size - 1.
        world_size: how many devices share the rows.
        epoch: returns the number of the epoch, from 0; it chooses the order.
        prepare: applied to many batches at once before they are split: (N, C, H, W) to (N, C, H, W).
        resident: a copy of `images` on a device, to take batches from there.
        device: where the run draws random numbers, beside the CPU.
        balanced: draw rows with replacement, those of each class with the same probability; needs a `shuffle_seed`.

    A loader with the state of another resumes where that one was, in the middle of an epoch, and restores its random
    state; Lightning keeps the state in checkpoints.
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
        resident: ResidentImages | None = None,
        device: torch.device = CPU,
        balanced: bool = False,
    ) -> None:
        self.images = images
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = epoch
        self.prepare = prepare
        self.resident = resident
        self.device = device
        self.balanced = balanced
        self._epoch = 0  # that the last pass was of
        self._yielded = 0  # batches, of that pass
        self._before: RandomState | None = None  # before the images that are given now were prepared
        self._resumed: dict[str, Any] | None = None

    def __len__(self) -> int:
        largest_share = -(-len(self.rows) // self.world_size)
        return -(-largest_share // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 (B, C, H, W), or what `prepare` makes of it, and int64 (B,); on the CPU or beside `resident`."""
        order, self._epoch, self._yielded = self.rows, self.epoch(), 0
        if self.shuffle_seed is not None:
            generator = np.random.default_rng((self.shuffle_seed, self._epoch))
            order = self._drawn(generator) if self.balanced else generator.permutation(order)
        share = order[self.rank :: self.world_size]
        batches = len(self)
        if -(-len(share) // self.batch_size) == batches:  # full batches, and one with the rest
            bounds = np.minimum(np.arange(batches + 1) * self.batch_size, len(share))
        else:  # another share has one batch more: make as many, of nearly equal size
            bounds = np.arange(batches + 1) * len(share) // batches
        take, at_once = self._make_take(share)
        step = max(at_once // self.batch_size, 1)
        resumed, self._resumed = self._resumed, None
        random: RandomState | None = None  # of the checkpoint that this pass resumes from
        if resumed is not None and resumed["epoch"] == self._epoch:
            self._yielded, random = resumed["batches"], self._random_state_of(resumed)
        for first in range(self._yielded - self._yielded % step, batches, step):
            cuts = bounds[first : first + step + 1].tolist()
            sizes = np.diff(cuts).tolist()
            images, labels = take(cuts[0], cuts[-1])
            if random is not None:  # images of which the earlier run yielded a part are prepared as they were then
                set_random_state(random["before" if first < self._yielded else "now"], self.device)
            self._before = random_state(self.device)
            prepared = zip(torch.split(self.prepare(images), sizes), torch.split(labels, sizes), strict=True)
            if random is not None and first < self._yielded:
                set_random_state(random["now"], self.device)
            random = None
            for number, batch in enumerate(prepared, first):
                if number >= self._yielded:
                    self._yielded = number + 1
                    yield batch

    def _drawn(self, generator: np.random.Generator) -> Rows:
        """Draw as many rows as there are, those of each class with the same probability."""
        labels = self.images.labels[self.rows]
        classes, of_row, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return generator.choice(self.rows, len(self.rows), p=1 / (len(classes) * counts[of_row]))

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the epoch and the random states of all devices; every device must call it."""
        before = self._before or random_state(self.device)
        random: list[Any] = [{"before": before, "now": random_state(self.device)}]
        if self.world_size > 1:
            own, random = random[0], [None] * self.world_size
            distributed.all_gather_object(random, own)
        return {"epoch": self._epoch, "batches": self._yielded, "random": random}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume there in the next pass, if it is of the same epoch."""
        self._resumed = state_dict

    def _random_state_of(self, resumed: dict[str, Any]) -> RandomState:
        """Return the random state of this device."""
        if (devices := len(resumed["random"])) != self.world_size:
            raise UserError(
                f"The checkpoint was written in the middle of an epoch on {counted(devices, 'device')}, each with its "
                f"own share of the images; this run has {self.world_size}.\nResume with trainer.devices={devices}."
            )
        random: RandomState = resumed["random"][self.rank]
        return random

    def _make_take(self, share: Rows) -> tuple[Callable[[int, int], tuple[Tensor, Tensor]], int]:
        """Return a function that takes the images and labels of a slice of `share`, and how many to take at once."""
        if (resident := self.resident) is None:
            stored, labels = self.images.images, self.images.labels[share]
            return lambda start, end: (
                torch.from_numpy(np.take(stored, share[start:end], axis=0)),
                torch.from_numpy(labels[start:end]),
            ), IMAGES_PER_GATHER
        rows = torch.from_numpy(share).to(resident.images.device)  # once an epoch, so that no step waits for it
        at_once = IMAGES_PER_GATHER_ON_GPU if rows.is_cuda else IMAGES_PER_GATHER
        return lambda start, end: resident.take(rows[start:end]), at_once
