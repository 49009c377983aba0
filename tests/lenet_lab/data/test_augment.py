"""Each change against torchvision's: the same images for the same parameters, and the parameters equally often."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from lab_engine.base.errors import UserError
from lenet_lab.data.augment import RandomColour, RandomCutout, RandomFlip, RandomShift, change_colour
from tests.lenet_lab.tasks.test_classification import digits

IMAGE = torch.arange(3 * 8 * 9, dtype=torch.uint8).reshape(3, 8, 9)
COUNT = 5000
ALL = [RandomFlip(), RandomShift(2), RandomCutout(4), RandomColour(0.2, 0.2, 0.2)]
CHI_SQUARE = {1: 10.8, 9: 27.9, 24: 51.2, 71: 112.3}
"""What the sum of squares stays below in 999 of 1,000 draws, by degrees of freedom."""


def key(image: Tensor) -> bytes:
    return image.numpy().tobytes()


def assert_alike(drawn: Iterable[Hashable], outcomes: int) -> None:
    """All outcomes are drawn, and their counts fit equal probabilities."""
    counts = Counter(drawn)
    expected = counts.total() / outcomes
    assert len(counts) == outcomes
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < CHI_SQUARE[outcomes - 1]


def ours(change: nn.Module, image: Tensor = IMAGE) -> Tensor:
    torch.manual_seed(0)
    return change(image.expand(COUNT, *image.shape))


def theirs(change: nn.Module, image: Tensor = IMAGE) -> Tensor:
    """One image after the other: torchvision draws once for a batch."""
    torch.manual_seed(0)
    return torch.stack([change(image) for _ in range(COUNT // 5)])


def test_flip_is_random_horizontal_flip() -> None:
    outcomes = {key(IMAGE), key(F.horizontal_flip(IMAGE))}
    for images in (ours(RandomFlip()), theirs(v2.RandomHorizontalFlip())):
        assert {key(image) for image in images} == outcomes
        assert_alike(map(key, images), 2)


def test_shift_is_random_crop_of_the_reflected_image() -> None:
    padded = F.pad(IMAGE, [2], padding_mode="reflect")
    outcomes = {key(F.crop(padded, top, left, 8, 9)) for top in range(5) for left in range(5)}
    for images in (ours(RandomShift(2)), theirs(v2.RandomCrop((8, 9), padding=2, padding_mode="reflect"))):
        assert {key(image) for image in images} == outcomes
        assert_alike(map(key, images), 25)


@pytest.mark.parametrize("side", [1, 4, 5, 8])
def test_cutout_erases_a_square_around_any_pixel(side: int) -> None:
    outcomes = []
    for row in range(8):
        for column in range(9):
            top, left = max(row - side // 2, 0), max(column - side // 2, 0)
            height, width = row - side // 2 + side - top, column - side // 2 + side - left
            outcomes.append(key(F.erase(IMAGE, top, left, height, width, torch.full((3, 1, 1), 51, dtype=torch.uint8))))
    images = ours(RandomCutout(side, fill=0.2))
    assert {key(image) for image in images} == set(outcomes)
    if side == 4:  # each place gives another image
        assert_alike(map(key, images), 72)


def test_cutout_fills_each_channel_with_its_own_number_and_floats_on_their_own_scale() -> None:
    cutout, pixel = RandomCutout(1, fill=[0.0, 0.5, 1.0]), IMAGE[None, :, :1, :1]
    assert cutout(pixel).flatten().tolist() == [0, 128, 255]
    assert cutout(pixel / 255).flatten().tolist() == [0.0, 0.5, 1.0]


def test_a_cutout_larger_than_the_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"RandomCutout\(side=9\) needs larger images than 8x9"):
        RandomCutout(9)(IMAGE[None])


FACTORS = [0.0, 0.5, 0.83, 1.0, 1.2, 2.0]
CHANGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
}


def random_images(channels: int, lowest: float = 0.0, highest: float = 1.0) -> tuple[Tensor, Tensor]:
    """Uint8 and float."""
    images = torch.rand(6, channels, 8, 9, generator=torch.Generator().manual_seed(0)) * (highest - lowest) + lowest
    return (images * 255).to(torch.uint8), images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHANGES)
def test_colour_changes_one_thing_as_torchvision_does(name: str, channels: int) -> None:
    ones = torch.ones(len(FACTORS), 1, 1, 1)
    factors = dict.fromkeys(CHANGES, ones) | {name: torch.tensor(FACTORS)[:, None, None, None]}
    for images, tolerance in zip(random_images(channels), (1.0, 1e-6), strict=True):
        changed = change_colour(images, **factors)
        expected = torch.stack([CHANGES[name](image, factor) for image, factor in zip(images, FACTORS, strict=True)])
        assert changed.dtype == images.dtype
        # a whole number may come out a hair's breadth below, and both round down
        assert (changed.float() - expected.float()).abs().max() <= tolerance
        assert (changed != expected).float().mean() < 0.01 or tolerance < 1


@pytest.mark.parametrize("order", list(permutations(CHANGES)), ids="-".join)
def test_colour_changes_all_at_once_as_torchvision_does_in_any_order(order: tuple[str, ...]) -> None:
    factors = {"brightness": 1.2, "contrast": 0.8, "saturation": 1.15}
    all_at_once = {name: torch.full((6, 1, 1, 1), factor) for name, factor in factors.items()}
    for images, tolerance in zip(random_images(3, 0.3, 0.6), (3.0, 1e-5), strict=True):  # torchvision rounds thrice
        expected = images
        for name in order:
            expected = CHANGES[name](expected, factors[name])
        assert (change_colour(images, **all_at_once).float() - expected.float()).abs().max() <= tolerance


@pytest.mark.parametrize("name", CHANGES)
def test_colour_draws_each_factor_alike_and_for_each_image(name: str) -> None:
    image = torch.tensor([[[0.4, 0.6]], [[0.5, 0.5]], [[0.6, 0.4]]])  # 3x1x2
    ends = [CHANGES[name](image, factor)[0, 0, 1].item() for factor in (0.7, 1.3)]
    for images in (ours(RandomColour(**{name: 0.3}), image), theirs(v2.ColorJitter(**{name: 0.3}), image)):
        factors = (images[:, 0, 0, 1] - ends[0]) / (ends[1] - ends[0])  # from 0 to 1, as all is linear
        assert_alike((factors * 10).clamp(0, 9.999).int().tolist(), 10)


def test_colour_leaves_grey_images_grey_and_refuses_others() -> None:
    grey = random_images(1)[0]
    assert torch.equal(RandomColour(saturation=0.9)(grey), grey)
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        RandomColour(brightness=0.1)(torch.zeros(1, 4, 5, 5))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_all_are_one_graph_without_reading_a_value_from_the_device(dtype: torch.dtype) -> None:
    changes = nn.Sequential(RandomFlip(), RandomShift(2), RandomCutout(4), RandomColour(0.1, 0.1, 0.1))
    images = IMAGE.expand(7, 3, 8, 9).to(dtype)
    if dtype.is_floating_point:
        images = images / 255
    torch.manual_seed(0)
    expected = changes(images)
    torch.manual_seed(0)
    # fullgraph refuses whatever would wait for the device, or depend on what was drawn
    assert torch.equal(torch.compile(changes, backend="eager", fullgraph=True)(images), expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (RandomShift(32), r"RandomShift\(32\) needs larger images than 32x32"),
        (RandomCutout(4, [0.1, 0.2, 0.3]), "3 numbers in fill, but the images have 1 channel"),
    ],
)
def test_a_change_that_does_not_fit_the_images_is_refused_before_training(change: nn.Module, reason: str) -> None:
    data = digits(augment={"change": change})
    with pytest.raises(UserError, match=f"augment.change .*{reason}.*\nChange its keys under augment.change"):
        data.setup()


@pytest.mark.parametrize(
    "change", [RandomFlip(), RandomShift(2), RandomCutout(4), RandomColour(0.2, 0.2, 0.2)], ids=str
)
def test_all_is_drawn_on_the_device_of_the_images(change: nn.Module) -> None:
    for dtype in (torch.uint8, torch.float32):
        changed = change(torch.zeros(5, 3, 8, 9, dtype=dtype, device="meta"))  # which refuses what is elsewhere
        assert (changed.device.type, changed.dtype, changed.shape) == ("meta", dtype, (5, 3, 8, 9))


@pytest.mark.parametrize(
    "change", [RandomFlip(), RandomShift(2), RandomCutout(4), RandomColour(0.2, 0.2, 0.2)], ids=str
)
def test_floats_stay_as_precise_as_they_are(change: nn.Module) -> None:
    assert change(torch.rand(5, 3, 8, 9, dtype=torch.float64)).dtype == torch.float64


def test_cutout_is_grey_unless_told_otherwise_and_no_part_of_a_checkpoint() -> None:
    cutout = RandomCutout(1)
    assert cutout(IMAGE[None, :, :1, :1]).flatten().tolist() == [128, 128, 128]
    assert not cutout.state_dict()
