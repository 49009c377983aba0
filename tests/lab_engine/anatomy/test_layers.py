"""Figures of the anatomy against counts that were made another way."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from lab_engine.anatomy.layers import Layer, analyze
from lab_engine.base.errors import UserError
from lenet_lab.models.lenet import LeNet


def macs_by_hand(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of convolutions and linear layers, from shapes that hooks see."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counts.append(output.numel() * (module.in_channels // module.groups) * math.prod(module.kernel_size))
        elif isinstance(module, nn.Linear):
            counts.append(output.numel() * module.in_features)

    for module in network.modules():
        module.register_forward_hook(count)
    network.eval()(torch.zeros(1, *image_shape))
    return sum(counts)


NETWORKS = {
    "LeNet": (lambda: LeNet(3, (32, 32), 10), (3, 32, 32), 62_006, 651_720),
    "LeNet, grey": (lambda: LeNet(1, (32, 32), 10), (1, 32, 32), 61_706, 416_520),
    # From here on the figures are those of torchvision: `meta["num_params"]` and `meta["_ops"]` of its weights.
    "ResNet-18": (models.resnet18, (3, 224, 224), 11_689_512, 1.814e9),
    "MobileNet v2": (models.mobilenet_v2, (3, 224, 224), 3_504_872, 0.301e9),
    "SqueezeNet 1.1": (models.squeezenet1_1, (3, 224, 224), 1_235_496, 0.349e9),
    "ShuffleNet v2": (models.shufflenet_v2_x0_5, (3, 224, 224), 1_366_792, 0.04e9),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_agree_with_two_others(name: str) -> None:
    make, image_shape, parameters, macs = NETWORKS[name]
    network = make()
    layers = analyze(network, image_shape)
    assert network.training  # as it was
    assert sum(layer.parameters for layer in layers) == parameters == sum(p.numel() for p in network.parameters())
    assert sum(layer.macs for layer in layers) == macs_by_hand(network, image_shape)
    assert sum(layer.macs for layer in layers) == pytest.approx(macs, abs=0.0006e9 if macs > 1e7 else 0)
    assert name.startswith("Shuffle") or all(layer.receptive_field for layer in layers)


def test_every_layer_of_lenet() -> None:
    layers = [
        (layer.name, layer.operation, layer.output, layer.parameters, layer.macs, layer.receptive_field)
        for layer in analyze(LeNet(3, (32, 32), 10), (3, 32, 32))
        if layer.operation != "relu"
    ]
    assert layers == [
        ("conv1", "conv2d", (6, 28, 28), 456, 352_800, (5, 5)),
        ("", "max_pool2d", (6, 14, 14), 0, 0, (6, 6)),
        ("conv2", "conv2d", (16, 10, 10), 2_416, 240_000, (14, 14)),
        ("", "max_pool2d", (16, 5, 5), 0, 0, (16, 16)),
        ("", "flatten", (400,), 0, 0, (16, 16)),
        ("fc1", "linear", (120,), 48_120, 48_000, (32, 32)),
        ("fc2", "linear", (84,), 10_164, 10_080, (32, 32)),
        ("fc3", "linear", (10,), 850, 840, (32, 32)),
    ]


WINDOWS = nn.Sequential(
    nn.Conv2d(2, 3, 5, padding=2, stride=2),
    nn.BatchNorm2d(3),
    nn.ReLU(),
    nn.Conv2d(3, 3, (3, 5), padding=(2, 4), dilation=2, groups=3),
    nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
    nn.Conv2d(3, 4, 2, padding="same"),
    nn.Dropout(),
    nn.AvgPool2d(2),
    nn.Conv2d(4, 4, 3, padding="same"),
    nn.AdaptiveAvgPool2d((2, 1)),
)
SIZE = (64, 72)  # far larger than what a value in the middle sees, up to the last pooling


def what_the_middle_sees(network: nn.Sequential) -> tuple[int, int]:
    """Make each pixel not-a-number in turn and look which of them reach the value in the middle of the output."""
    reached = torch.zeros(SIZE, dtype=torch.bool)
    for row in range(SIZE[0]):
        images = torch.zeros(SIZE[1], 2, *SIZE)
        images[torch.arange(SIZE[1]), :, row, torch.arange(SIZE[1])] = math.nan
        output = network(images)
        reached[row] = output[:, :, output.shape[2] // 2, output.shape[3] // 2].isnan().any(1)
    rows, columns = reached.nonzero().unbind(1)
    return int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)


@pytest.fixture(scope="module")
def layers() -> list[Layer]:
    return analyze(WINDOWS, (2, *SIZE))


@pytest.mark.parametrize("depth", range(len(WINDOWS) - 1))
def test_the_receptive_field_is_what_reaches_a_value(layers: list[Layer], depth: int) -> None:
    assert layers[depth].receptive_field == what_the_middle_sees(WINDOWS.eval()[: depth + 1])


def test_the_size_formula_gives_the_sizes(layers: list[Layer]) -> None:
    assert [layer.window.formulas for layer in layers if layer.window] == [
        ("⌊(64 − 5 + 2·2) / 2⌋ + 1 = 32", "⌊(72 − 5 + 2·2) / 2⌋ + 1 = 36"),
        ("(32 − (2·(3 − 1) + 1) + 2·2) / 1 + 1 = 32", "(36 − (2·(5 − 1) + 1) + 2·4) / 1 + 1 = 36"),
        ("⌈(32 − 3 + 2·1) / 2⌉ + 1 = 17", "⌈(36 − 3 + 2·1) / 2⌉ + 1 = 19"),
        ("17, as padding='same' keeps it", "19, as padding='same' keeps it"),
        ("⌊(17 − 2 + 2·0) / 2⌋ + 1 = 8", "⌊(19 − 2 + 2·0) / 2⌋ + 1 = 9"),
        ("(8 − 3 + 2·1) / 1 + 1 = 8", "(9 − 3 + 2·1) / 1 + 1 = 9"),
        ("(8 − 4 + 2·0) / 4 + 1 = 2", "(9 − 9 + 2·0) / 9 + 1 = 1"),
    ]


class Odd(nn.Module):
    """Shares a layer, leaves one unused, and does something that is not known here."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 1)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(torch.roll(self.shared(x), 1, -1))


def test_what_is_shared_is_counted_once_and_what_is_not_known_is_not_guessed() -> None:
    layers = analyze(Odd(), (3, 4, 4))
    assert [layer.parameters for layer in layers] == [12, 0, 0]
    assert [layer.macs for layer in layers] == [144, 0, 144]
    assert [layer.receptive_field for layer in layers] == [(1, 1), None, None]


def test_attention_is_counted() -> None:
    layers = analyze(models.VisionTransformer(32, 8, 1, 2, 24, 48), (3, 32, 32))
    tokens, width = 17, 24  # 16 patches and the class
    linear = 16 * 3 * 8 * 8 * width + tokens * width * (3 * width + width + 2 * 48) + width * 1000
    assert sum(layer.macs for layer in layers) == linear + 2 * tokens * tokens * width


def patches_by_reshape(x: Tensor) -> Tensor:
    return x.reshape(1, 3, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(1, 4, 48)


def standardized(x: Tensor) -> Tensor:
    weight = torch.arange(27.0).reshape(1, 3, 3, 3)
    return nn.functional.conv2d(x, weight - weight.mean(dim=(1, 2, 3), keepdim=True))


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (patches_by_reshape, None),
        (standardized, (3, 3)),
        (lambda x: x.softmax(1), None),
        (lambda x: x.mean(3), None),
        (lambda x: x.mean(1, keepdim=True), (1, 1)),
        (lambda x: x.mean((2, 3)), (8, 8)),
        (lambda x: x.chunk(3, dim=1)[0], (1, 1)),
        (lambda x: x.chunk(2, dim=2)[0], None),
        (lambda x: torch.cat([x, nn.functional.avg_pool2d(x, 3, 1, 1)], 1), (3, 3)),
        (lambda x: torch.cat([x, x], 2), None),
        (lambda x: x * nn.functional.adaptive_avg_pool2d(x, 1), (8, 8)),
        (lambda x: nn.functional.group_norm(x, 3), (8, 8)),
        (lambda x: nn.functional.interpolate(x, scale_factor=2), None),
        (lambda x: nn.functional.max_pool2d(x, 2, return_indices=True)[0], None),
        (lambda x: nn.functional.linear(x, torch.ones(2, 8)), None),
        (lambda x: nn.functional.linear(x[:, :, 0, 0], torch.ones(2, 3)), None),
    ],
)
def test_a_receptive_field_is_right_or_not_given(
    function: Callable[[Tensor], Tensor], known: tuple[int, int] | None
) -> None:
    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    assert analyze(Network(), (3, 8, 8))[-1].receptive_field == known


def test_leaves_the_network_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2).eval())
    before = [module.training for module in network.modules()]
    analyze(network, (3, 4, 4))
    assert [module.training for module in network.modules()] == before == [True, True, False]


def test_a_network_that_does_not_fit_the_images_is_explained() -> None:
    with pytest.raises(UserError, match=r"Sequential cannot be traced by torch.export: .*\nDoes it take images"):
        analyze(nn.Sequential(nn.Conv2d(1, 1, 3)), (3, 8, 8))


def test_a_tensor_that_is_no_part_of_the_network_and_odd_padding_are_no_obstacle() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3, padding="valid")
            self.pool = nn.AdaptiveAvgPool2d(4)
            self.offset = [torch.ones(4, 4)]  # in a list: no buffer

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.convolution(x)) + self.offset[0]

    first, second, *_ = analyze(Padded(), (3, 12, 12))
    assert (first.output, first.receptive_field) == ((4, 10, 10), (3, 3))
    assert (second.output, second.receptive_field) == ((4, 4, 4), None)  # 10 is no multiple of 4
