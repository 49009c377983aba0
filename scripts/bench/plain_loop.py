"""A training loop without a framework, to time the step itself."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from command import on_images
from images import data_module
from section import Setup
from step_contenders import normalized


def train_images(setup: Setup) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images, uint8 (N, C, H, W), and labels, int64 (N,)."""
    data = data_module(*on_images(setup.data))
    data.setup()
    return data.train.images, data.train.labels


class PlainLoop:
    """LeNet, a fused optimizer, batches gathered from memory.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        batch: images a step.
        channels_last: order of the weights in memory.
        bfloat16: by autocast.
        compiled: mode of torch.compile, or None.
        threads: of the CPU.
        optimizer: a class of torch.optim.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        batch: int,
        *,
        channels_last: bool = False,
        bfloat16: bool = False,
        compiled: str | None = None,
        threads: int = 1,
        optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW,
        **options: Any,
    ) -> None:
        from lenet_lab.models.lenet import LeNet

        self.images, self.labels, self.batch = images, labels, batch
        self.bfloat16, self.threads = bfloat16, threads
        self.order = np.random.default_rng(0)
        torch.manual_seed(0)
        self.network = LeNet(images.shape[1], images.shape[2:], 10)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        if compiled:
            self.network.compile(mode=compiled)
        self.optimizer = optimizer(self.network.parameters(), **({"lr": 0.001, "fused": True} | options))
        self.seconds_a_step(2)  # warm-up

    def seconds_a_step(self, steps: int) -> float:
        """Train on this many batches, in a new order; return the seconds of a step."""
        torch.set_num_threads(self.threads)
        order = np.resize(
            self.order.permutation(len(self.images)), (steps, self.batch)
        )  # repeated if there are too few
        start = time.perf_counter()
        for rows in order:
            images = normalized(torch.from_numpy(np.take(self.images, rows, axis=0)))
            labels = torch.from_numpy(self.labels[rows])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                loss = F.cross_entropy(self.network(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return (time.perf_counter() - start) / steps
