"""What the interface allows, and few do: facts of NumPy, a group of one's own, a seed, a loader without a length."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from foreign_regression import Regression, Waves
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset


class Endless(IterableDataset[tuple[Tensor, Tensor]]):
    """As many points as there are, which nobody is told."""

    def __init__(self, points: Any) -> None:
        super().__init__()
        self.points = points

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.points)


class OddWaves(Waves):
    """Points that come without their number."""

    def model_arguments(self) -> dict[str, Any]:
        return {"inputs": np.int64(1), "shape": (np.int64(1), torch.tensor(2))}

    def train_dataloader(self) -> Any:
        return DataLoader(Endless(self.train), self.batch_size)


class Tapered(nn.Sequential):
    """Reads numbers from a tensor while it is made, as stochastic depth does."""

    def __init__(self, inputs: int, depth: int) -> None:
        super().__init__(nn.Linear(inputs, 4), nn.Tanh(), nn.Linear(4, 1))
        self.rates = [float(rate) for rate in torch.linspace(0, 0.1, depth)]


class Distilled(Regression):
    """Takes a second network and the seed, too."""

    def __init__(self, teacher: nn.Module, seed: int, shape: list[int], **rest: Any) -> None:
        super().__init__(**rest)
        self.teacher = teacher
        assert (type(seed), shape) == (int, [1, 2])


class NeverTested(LightningModule):
    """Has all but `test_step`."""

    def training_step(self, batch: Any, batch_idx: int) -> None: ...

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...


class Plain(Regression):
    """Logs numbers in place of objects, as most code does, and looks at itself for the report."""

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/mae", (self.model(batch[0]) - batch[1]).abs().mean())

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test/mae", (self.model(batch[0]) - batch[1]).abs().mean())

    def report_sections(self, data: Any) -> list[Any]:
        assert not self.training
        assert not torch.is_grad_enabled()
        return []


class Blind(Waves):
    """Has no validation data."""

    def val_dataloader(self) -> Any:
        return []


class MeanOfEpoch(Regression):
    """Logs a metric of training that is there at the end of the epoch only."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train/mse", loss, on_step=False, on_epoch=True)
        return loss
