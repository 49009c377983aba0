"""Heat maps: of any network, and where what they explain is."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lab_engine.images.decode import ImageFormat
from lab_engine.prediction.overlay import overlay
from lenet_lab.data.normalize import Normalize
from lenet_lab.models.lenet import LeNet
from lenet_lab.views.predict_explanation import Explainer
from lenet_lab.views.trained_network import TrainedNetwork


class Bright(nn.Module):
    """Class 1 where something is bright; the convolution is named last but called first, and an inner one squeezes."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(1, 1, 1)
        self.find = nn.Conv2d(1, 1, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        nn.init.constant_(self.find.weight, 1.0)
        nn.init.zeros_(self.find.bias)

    def forward(self, x: Tensor) -> Tensor:
        bright = self.relu(self.find(x)).mean((1, 2, 3))
        gate = self.squeeze(x.mean((2, 3), keepdim=True)).mean((1, 2, 3)) * 0
        return torch.stack([gate, bright], 1)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 256))
        self.weight.data[1, 17] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def trained(network: nn.Module, channels: int = 1, side: int = 16) -> TrainedNetwork:
    return TrainedNetwork(network.eval(), Normalize(0.0, 1.0), ("no", "yes"), ImageFormat(channels, side, side))


def spot() -> np.ndarray:
    image = np.zeros((1, 1, 16, 16), np.uint8)
    image[0, 0, 2:5, 10:13] = 255
    return image


def test_grad_cam_finds_what_speaks_for_a_class() -> None:
    explainer = Explainer(trained(Bright()), "auto")
    assert explainer.description == "Grad-CAM of find"
    heat = explainer(spot(), [1])
    assert (heat.shape, heat.dtype, heat.max(), heat.min()) == ((1, 16, 16), np.float32, 1.0, 0.0)
    assert np.unravel_index(heat[0].argmax(), (16, 16)) == (3, 11)
    assert (heat[0, 8:] == 0).all()


def test_without_a_convolution_it_is_saliency() -> None:
    explainer = Explainer(trained(Linear()), "auto")
    assert explainer.description == "saliency"
    assert np.argwhere(explainer(spot(), [1])[0]).tolist() == [[1, 1]]
    assert (explainer(spot(), [0]) == 0).all()  # nothing speaks for it, which is no division by zero
    with pytest.raises(UserError, match="method=grad_cam is refused"):
        Explainer(trained(Linear()), "grad_cam")


@pytest.mark.parametrize("method", ["auto", "saliency"])
def test_leaves_the_network_as_it_was(method: str) -> None:
    network = LeNet(3, (32, 32), 10)
    images = np.random.default_rng(0).integers(0, 255, (4, 3, 32, 32), dtype=np.uint8)
    one = trained(network, 3, 32)
    before = one(torch.tensor(images))
    heat = Explainer(one, method)(images, [0, 1, 2, 3])
    assert heat.shape == (4, 32, 32)
    assert torch.equal(one(torch.tensor(images)), before)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_an_overlay_is_bright_where_the_heat_is() -> None:
    heat = np.zeros((16, 16), np.float32)
    heat[4, 5] = 1
    for channels in (1, 3):
        mixed = overlay(np.full((channels, 16, 16), 100, np.uint8), heat)
        assert (mixed.shape, mixed.dtype) == ((3, 16, 16), np.uint8)
        assert np.unravel_index(mixed.sum(0).argmax(), (16, 16)) == (4, 5)
