"""Augmentations: random changes to training images, made on a whole batch and on the batch's device.

Each takes uint8 images (0 to 255) or float images (0.0 to 1.0), and draws random numbers for every image. None waits
for a GPU, and no shape depends on a random number, so they can be compiled and captured in a CUDA graph.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, described, shortened

Images = UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"]
"""Values 0 to 255, or 0.0 to 1.0; an augmentation keeps the dtype."""
GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue, as in torchvision


class PerImage(nn.Module):
    """Applies a change image by image, for changes that draw random numbers once per call, as torchvision's do.

    Args:
        change: of uint8 (1, C, H, W) or (C, H, W).
    """

    def __init__(self, change: nn.Module) -> None:
        super().__init__()
        self.change = change

    def forward(self, images: Images) -> Images:
        """Return the changed images."""
        return torch.stack([self.change(image) for image in images])


TRIALS, COPIES = 8, 16  # enough to tell a draw for each image from one for the whole batch


def checked(name: str, change: nn.Module, shape: Sequence[int]) -> nn.Module:
    """Return a change that draws anew for each image: the one given, or where it draws once for a batch a `PerImage`.

    Args:
        name: of the change in `augment`, for a message.
        change: of uint8 (B, C, H, W).
        shape: of the images, (C, H, W).

    Raises:
        UserError: it cannot change such images, or returns others than uint8 of the same shape.
    """
    key = f"augment.{name} ({type(change).__name__})"
    with torch.random.fork_rng(devices=[]):  # what a run draws must not depend on this trial
        images = torch.randint(256, (1, *shape), dtype=torch.uint8).repeat(COPIES, 1, 1, 1)
        try:
            changed = [change(images) for _ in range(TRIALS)]
        except Exception as error:
            reason = shortened(next(iter(str(error).splitlines()), type(error).__name__))
            raise UserError(
                f"{key} cannot change images of {described(images[:1])}: {reason}\n"
                f"Change its keys under augment.{name}, or leave it out."
            ) from error
        if wrong := [each for each in changed if each.dtype != torch.uint8 or each.shape != images.shape]:
            raise UserError(
                f"{key} returns {described(wrong[0])} for {described(images)}.\n"
                "Return uint8 images of the same shape, values 0 to 255; normalization follows it."
            )
        alike = all(bool((each == each[:1]).all()) for each in changed)
        once = alike and any(not torch.equal(each, changed[0]) for each in changed)
    return PerImage(change) if once else change


class RandomFlip(nn.Module):
    """Mirrors each image left to right with probability one half."""

    def forward(self, images: Images) -> Images:
        """Return the images with some of them mirrored."""
        count = len(images)
        mirrored = torch.rand(count, device=images.device) < 0.5
        both = torch.cat([images, images.flip(-1)])  # to copy whole images is faster than to choose pixels
        return both.index_select(0, mirrored * count + torch.arange(count, device=images.device))


class RandomShift(nn.Module):
    """Shifts each image by up to `pixels` up or down and left or right; the edge is filled with its reflection.

    Args:
        pixels: the largest shift; every whole number of pixels up to it is equally likely.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Images) -> Images:
        """Return the shifted images.

        Raises:
            ValueError: H or W is not larger than `pixels`.
        """
        count, _, height, width = images.shape
        if min(height, width) <= self.pixels:
            raise ValueError(f"{type(self).__name__}({self.pixels}) needs larger images than {height}x{width}")
        down, right = torch.randint(0, 2 * self.pixels + 1, (2, count, 1), device=images.device) - self.pixels
        rows = _reflect(down + torch.arange(height, device=images.device), height)
        columns = _reflect(right + torch.arange(width, device=images.device), width)
        return images.flatten(2).gather(2, _pixel_indices(rows, columns, images)).view_as(images)


class RandomCutout(nn.Module):
    """Hides a square of each image; its centre is any pixel, equally likely, so it may be partly outside.

    After T. DeVries and G. W. Taylor, "Improved regularization of convolutional neural networks with cutout" (2017).

    Args:
        side: of the square, in pixels.
        fill: value of the square, on the scale 0 to 1; one number for all channels, or one per channel.
    """

    fill: Tensor

    def __init__(self, side: int, fill: float | Sequence[float] = 0.5) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("fill", torch.tensor(fill, dtype=torch.float32).reshape(-1, 1), persistent=False)

    def forward(self, images: Images) -> Images:
        """Return the images with the square hidden.

        Raises:
            ValueError: `fill` has neither one number nor C, or the square is larger than the images.
        """
        count, channels, height, width = images.shape
        if self.side > min(height, width):
            raise ValueError(f"{type(self).__name__}(side={self.side}) needs larger images than {height}x{width}")
        if len(self.fill) not in (1, channels):
            raise ValueError(
                f"{type(self).__name__} has {counted(len(self.fill), 'number')} in fill, but the images have "
                f"{counted(channels, 'channel')}"
            )
        square = torch.arange(self.side, device=images.device) - self.side // 2
        # Rows and columns outside are clamped to the edge, whose pixels are set to the same value again.
        rows = (torch.randint(height, (count, 1), device=images.device) + square).clamp_(0, height - 1)
        columns = (torch.randint(width, (count, 1), device=images.device) + square).clamp_(0, width - 1)
        indices = _pixel_indices(rows, columns, images)
        fill = self.fill if images.is_floating_point() else (255 * self.fill).round()
        fill = fill.to(images.device, images.dtype).expand(indices.shape)
        return images.flatten(2).scatter(2, indices, fill).view_as(images)


class RandomColour(nn.Module):
    """Changes brightness, contrast and saturation of each image, by factors from 1 - x to 1 + x.

    The three are defined as in torchvision's ColorJitter, which applies one after another, in random order, and clips
    pixels after each. Here they are one weighted sum, which is the same in every order, and clipped once, at the end.
    Grey images have no saturation to change.

    Args:
        brightness: x of brightness, 0 or more; factors below 0 are replaced by 0.
        contrast: likewise.
        saturation: likewise.
    """

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        super().__init__()
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation

    def forward(self, images: Images) -> Images:
        """Return the images in other colours.

        Raises:
            ValueError: the images are neither RGB nor grey.
        """
        spreads = (self.brightness, self.contrast, self.saturation)
        factors = [images.new_empty((len(images), 1, 1, 1), dtype=torch.float32) for _ in spreads]
        for factor, spread in zip(factors, spreads, strict=True):
            factor.uniform_(max(1 - spread, 0), 1 + spread)
        return change_colour(images, *factors)


def change_colour(
    images: Images,
    brightness: Float32[Tensor, "B 1 1 1"],
    contrast: Float32[Tensor, "B 1 1 1"],
    saturation: Float32[Tensor, "B 1 1 1"],
) -> Images:
    """Scale by `brightness`, then the distance to the mean grey by `contrast`, to each pixel's grey by `saturation`.

    Args:
        images: RGB or grey.
        brightness: a factor for each image; 1 changes nothing.
        contrast: likewise.
        saturation: likewise.

    Raises:
        ValueError: the images are neither RGB nor grey.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"RandomColour takes images of 1 or 3 channels, not {images.shape[1]}")
    whole = not images.is_floating_point()
    colours = images.float() if whole else images
    if images.shape[1] == 3:
        red, green, blue = colours.unbind(1)
        grey = red.mul(GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2]).unsqueeze(1)
    else:
        grey = colours.clone()
    if whole:
        grey.floor_()  # torchvision, too, rounds the grey of uint8 images down
    mean = grey.mean((1, 2, 3), keepdim=True)
    grey.mul_(brightness * contrast * (1 - saturation)).add_(brightness * (1 - contrast) * mean)
    changed = torch.addcmul(grey, colours, brightness * contrast * saturation).clamp_(0, 255 if whole else 1)
    return changed.to(torch.int16).to(images.dtype) if whole else changed  # to uint8 directly is slower


def _reflect(indices: Int64[Tensor, "B S"], size: int) -> Int64[Tensor, "B S"]:
    """Reflect indices up to size - 1 outside an edge back inside, mirrored at the middle of the edge's pixel."""
    return size - 1 - (size - 1 - indices.abs()).abs()


def _pixel_indices(
    rows: Int64[Tensor, "B R"], columns: Int64[Tensor, "B S"], images: Images
) -> Int64[Tensor, "B C R*S"]:
    """Return the flat indices of the pixels where these rows and columns cross, for each channel."""
    width = images.shape[-1]
    crossings = rows[:, :, None] * width + columns[:, None, :]
    return crossings.flatten(1)[:, None, :].expand(-1, images.shape[1], -1)
