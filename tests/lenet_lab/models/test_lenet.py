import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lenet_lab.models.lenet import LeNet


@pytest.mark.parametrize(("channels", "parameters"), [(3, 62_006), (1, 61_706)])
def test_has_the_classic_number_of_parameters(channels: int, parameters: int) -> None:
    assert sum(p.numel() for p in LeNet(channels, (32, 32), 10).parameters()) == parameters


@pytest.mark.parametrize(
    ("channels", "size", "classes"), [(3, (32, 32), 10), (1, (16, 16), 2), (4, (17, 40), 100), (3, (64, 48), 7)]
)
def test_maps_any_image_to_logits(channels: int, size: tuple[int, int], classes: int) -> None:
    assert LeNet(channels, size, classes)(torch.rand(5, channels, *size)).shape == (5, classes)


def test_relu_after_pooling_changes_no_bit() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    network = LeNet(3, (32, 32), 10)

    def classic(x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(network.conv1(x)), 2)
        x = F.max_pool2d(F.relu(network.conv2(x)), 2).flatten(1)
        return network.fc3(F.relu(network.fc2(F.relu(network.fc1(x)))))

    results = []
    for forward in (network, classic):
        network.zero_grad()
        logits = forward(images)
        F.cross_entropy(logits, labels).backward()
        results.append([logits, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("size", [(15, 32), (32, 15), (1, 1)])
def test_says_when_the_image_is_too_small(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"at least 16x16 pixels, not {size[0]}x{size[1]}"):
        LeNet(3, size, 10)


def test_widths_can_be_chosen() -> None:
    network = LeNet(1, (32, 32), 10, conv_channels=(2, 3), hidden=(5, 4))
    assert [tuple(p.shape) for p in network.parameters() if p.ndim > 1] == [
        (2, 1, 5, 5),
        (3, 2, 5, 5),
        (5, 75),
        (4, 5),
        (10, 4),
    ]
