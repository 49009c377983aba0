"""A regression that knows nothing of the program: any network, MSE, two metrics of TorchMetrics."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, R2Score


class Waves(LightningDataModule):
    """Noisy points of a sine, in plain DataLoaders."""

    def __init__(self, points: int, batch_size: int) -> None:
        super().__init__()
        self.points = points
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:
        x = 6 * torch.rand(self.points, 1, generator=torch.Generator().manual_seed(0))
        y = x.sin() + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        cut = self.points // 5
        self.test, self.val, self.train = (
            TensorDataset(x[rows], y[rows]) for rows in (slice(cut), slice(cut, 2 * cut), slice(2 * cut, None))
        )

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val, self.batch_size)

    def test_dataloader(self) -> Any:
        return DataLoader(self.test, self.batch_size)


class MLP(nn.Sequential):
    """One hidden layer."""

    def __init__(self, hidden: int) -> None:
        super().__init__(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, 1))


class Regression(LightningModule):
    """Mean squared error, watched by the mean absolute error."""

    def __init__(self, model: nn.Module, optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer]) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.metrics = nn.ModuleDict(
            {f"{stage}_{name}": kind() for stage in ("val", "test") for name, kind in KINDS.items()}
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = mse_loss(self.model(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._measure("val", batch)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._measure("test", batch)

    def _measure(self, stage: str, batch: list[Tensor]) -> None:
        for name in KINDS:
            metric = self.metrics[f"{stage}_{name}"]
            metric(self.model(batch[0]), batch[1])
            self.log(f"{stage}/{name}", metric, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.model.named_parameters())


KINDS = {"mae": MeanAbsoluteError, "r2": R2Score}
