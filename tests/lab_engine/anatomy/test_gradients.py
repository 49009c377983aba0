"""The backward graph, and the gradients of a step."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab_engine.anatomy.gradients import IMAGES, step
from lab_engine.base.errors import UserError
from lenet_lab.models.lenet import LeNet


def test_the_chain_of_lenet_leads_from_the_loss_to_the_first_layer() -> None:
    nodes = step(LeNet(3, (32, 32), 10), (3, 32, 32), 10).backward
    assert [node.function.removesuffix("Backward0") for node in nodes] == [
        "NllLoss",
        "LogSoftmax",
        *["Addmm", "Relu", "Addmm", "Relu", "Addmm"],
        "View",
        *["Relu", "MaxPool2DWithIndices", "Convolution"] * 2,
    ]
    assert [node.next for node in nodes] == [*((number + 1,) for number in range(len(nodes) - 1)), ()]
    assert [sorted(node.leaves) for node in nodes if node.leaves] == [
        ["fc3.bias", "fc3.weight"],
        ["fc2.bias", "fc2.weight"],
        ["fc1.bias", "fc1.weight"],
        ["conv2.bias", "conv2.weight"],
        ["conv1.bias", "conv1.weight"],
    ]


def test_the_norms_are_those_of_finite_differences() -> None:
    network = LeNet(1, (16, 16), 3, conv_channels=(2, 2), hidden=(4, 3)).double()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(1)
        result = step(network, (1, 16, 16), 3)
        torch.manual_seed(1)
        images, labels = 2 * torch.rand(IMAGES, 1, 16, 16) - 1, torch.randint(3, (IMAGES,))
    finally:
        torch.set_default_dtype(torch.float32)
    loss = F.cross_entropy(network(images), labels)
    assert result.loss == pytest.approx(float(loss.detach()))
    for told, (name, parameter) in zip(result.gradients, network.named_parameters(), strict=True):
        flat, slopes = parameter.detach().view(-1), []
        for number in range(len(flat)):
            value, losses = float(flat[number]), []
            for moved in (value + 1e-6, value - 1e-6):
                flat[number] = moved
                losses.append(float(F.cross_entropy(network(images), labels).detach()))
            flat[number] = value
            slopes.append((losses[0] - losses[1]) / 2e-6)
        assert told.name == name
        assert told.shape == tuple(parameter.shape)
        # a slope is the difference of two float64 losses over 2e-6: some 1e-10 of it is rounding, 1e-6 the curve's bend
        assert told.gradient_norm == pytest.approx(float(torch.tensor(slopes).norm()), rel=1e-4)
        assert told.weight_norm == pytest.approx(float(parameter.detach().norm()))


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(2, 2, 3, padding=1)
        self.unused = nn.Linear(2, 2)
        self.last = nn.Linear(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((x + self.inside(x)).mean((2, 3)))


def test_branches_join_and_unused_parameters_get_nothing() -> None:
    result = step(Branched(), (2, 6, 6), 5)
    add = next(node for node in result.backward if node.function == "AddBackward0")
    assert add.leaves == ()
    assert [result.backward[number].function for number in add.next] == ["ConvolutionBackward0"]
    norms = {gradient.name: gradient.gradient_norm for gradient in result.gradients}
    assert norms["unused.weight"] is None
    assert norms["inside.weight"] is not None


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.only(x.mean((2, 3)))
        return logits, logits


class Detached(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0].detach()


def test_changes_in_place_are_no_obstacle() -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3, 5))
    assert step(network, (3, 1, 1), 5).gradients[0].gradient_norm is not None


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Pair(), r"Pair returns a tuple for 4 images in training, not \(4, 5\)"),
        (Detached(), "Detached has no parameter that its logits depend on"),
    ],
)
def test_a_network_that_cannot_be_trained_is_explained(network: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        step(network, (3, 6, 6), 5)


def test_a_network_without_logits_is_explained() -> None:
    with pytest.raises(UserError, match=r"Conv2d returns \(4, 5, 4, 4\) for 4 images in training, not \(4, 5\)"):
        step(nn.Conv2d(2, 5, 3), (2, 6, 6), 5)
