"""Stacked networks compute what each computes by itself."""

import copy
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenet_lab.models.lenet import LeNet
from lenet_lab.sweeps.stack import Stack, why_not_stacked


class Mixed(nn.Module):
    """Buffers, a parameter used twice, one without gradient and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding="same", groups=1, bias=False)
        self.depthwise = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.one = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.other.weight = self.one.weight
        self.frozen = nn.Parameter(torch.rand(4), requires_grad=False)
        self.unused = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.depthwise(self.conv(x))).mean((2, 3))
        return self.other(torch.tanh(self.one(x))) * self.frozen


class Noisy(nn.Module):
    """Draws random numbers that torch does not know of."""

    def forward(self, x: Tensor) -> Tensor:
        return x * random.random()


class Branching(nn.Module):
    """Decides by what it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def lenet() -> nn.Module:
    return LeNet(3, (16, 16), 4)


@pytest.mark.parametrize("make", [lenet, Mixed])
@pytest.mark.parametrize("batch", [3, 16], ids=["one_grouped_convolution", "convolutions_one_by_one"])
def test_steps_are_those_of_each_network_by_itself(make: Any, batch: int) -> None:
    torch.manual_seed(0)
    alone = [make().double() for _ in range(3)]
    stacked = copy.deepcopy(alone)
    stack = Stack(stacked)
    optimizers, optimizers_of_stack = (
        [
            torch.optim.SGD(network.parameters(), lr=0.1 * number, momentum=0.9, weight_decay=0.1)
            for number, network in enumerate(networks, 1)
        ]
        for networks in (alone, stacked)
    )
    for _ in range(5):
        images = torch.rand(3, batch, 3, 16, 16, dtype=torch.float64)
        labels = torch.randint(0, 4, (3, batch))
        losses, correct = [], []
        for network, optimizer, x, y in zip(alone, optimizers, images, labels, strict=True):
            optimizer.zero_grad()
            logits = network(x)
            correct.append(int((logits.argmax(1) == y).sum()))
            losses.append(F.cross_entropy(logits, y))
            losses[-1].backward()
            optimizer.step()
        found, right = stack.backward(images, labels)
        for optimizer in optimizers_of_stack:
            optimizer.step()
        assert right.tolist() == correct
        torch.testing.assert_close(found, torch.stack(losses).detach(), rtol=1e-12, atol=1e-12)
    for network, other in zip(alone, stacked, strict=True):
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(other.state_dict()[key], tensor, rtol=1e-9, atol=1e-11)


def test_a_loss_that_is_not_a_number_stays_where_it_is() -> None:
    networks = [lenet() for _ in range(3)]
    stack = Stack(networks)
    with torch.no_grad():
        networks[1].get_parameter("conv1.weight").fill_(torch.inf)
    losses, _ = stack.backward(torch.rand(3, 8, 3, 16, 16), torch.zeros(3, 8, dtype=torch.int64))
    assert losses.isfinite().tolist() == [True, False, True]
    for network, finite in zip(networks, (True, False, True), strict=True):
        assert all(bool(p.grad.isfinite().all()) for p in network.parameters()) == finite


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm1d(2), ""),
        (nn.Dropout(0.5), "the network draws random numbers as it trains (dropout)"),
        (Branching(), "torch.func.vmap refuses the network: "),
        (Noisy(), "the network computes something else when it is stacked"),
    ],
)
def test_says_why_networks_cannot_be_stacked(layer: nn.Module, reason: str) -> None:
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(3, 2), copy.deepcopy(layer)) for _ in range(2)]
    before = copy.deepcopy(networks)
    found = why_not_stacked(networks, torch.rand(4, 3, 1, 1))
    assert found.startswith(reason) if reason else found == ""
    for network, kept in zip(networks, before, strict=True):
        for key, tensor in kept.state_dict().items():
            assert torch.equal(network.state_dict()[key], tensor)
