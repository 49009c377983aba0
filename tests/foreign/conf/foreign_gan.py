"""A GAN with two optimizers and manual optimization, on an ordinary DataLoader with two workers."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.utils.data import DataLoader, TensorDataset


class Ring(LightningDataModule):
    """Points on a circle."""

    def __init__(self, points: int, batch_size: int, workers: int) -> None:
        super().__init__()
        self.points, self.batch_size, self.workers = points, batch_size, workers

    def setup(self, stage: str | None = None) -> None:
        angle = 6.2832 * torch.rand(self.points, generator=torch.Generator().manual_seed(0))
        self.data = TensorDataset(torch.stack([angle.cos(), angle.sin()], 1))

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, self.batch_size, shuffle=True, num_workers=self.workers)

    def val_dataloader(self) -> Any:
        return DataLoader(self.data, 200)

    def test_dataloader(self) -> Any:
        return DataLoader(self.data, 200)


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs))


class GAN(LightningModule):
    """Watched by how far the radius of what it makes is from 1."""

    def __init__(self, latent: int, lr: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latent, self.lr = latent, lr
        self.generator, self.critic = network(latent, 2), network(2, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (real,) = batch
        of_generator, of_critic = self.optimizers()
        made = self.generator(torch.randn(len(real), self.latent, device=self.device))
        loss = bce(self.critic(real), torch.ones(len(real), 1)) + bce(
            self.critic(made.detach()), torch.zeros(len(real), 1)
        )
        self._step(of_critic, loss)
        self.log("train/critic", loss)
        loss = bce(self.critic(made), torch.ones(len(real), 1))
        self._step(of_generator, loss)
        self.log("train/generator", loss)

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._measure("val", batch_idx)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._measure("test", batch_idx)

    def _measure(self, stage: str, seed: int) -> None:
        noise = torch.randn(200, self.latent, generator=torch.Generator().manual_seed(seed))
        radius = self.generator(noise).norm(dim=1)
        self.log(f"{stage}/off", (radius - 1).abs().mean(), batch_size=200)

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=self.lr) for part in (self.generator, self.critic)]
