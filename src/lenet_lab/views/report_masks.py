"""Test images with the class of each pixel, in the report of a run."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8
from markupsafe import Markup
from torch import Tensor, int64

from lab_engine.base.pictures import grid, png_url
from lab_engine.training.interface import Section
from lenet_lab.views.tensorboard_pictures import to_bytes

MAX_SAMPLES = 4
SIDE = 128  # pixels of the longer side of an image in the picture
FEW = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Colours that colour-blind readers can tell apart, of Okabe and Ito."""
NO_CLASS = "#9aa0a6"

SECTION = Markup("""
<section>
  <h2>Masks</h2>
  <p class="soft">The first test images, each beside its target and the prediction. The values of each image are scaled
  from black to white.</p>
  <p class="keys">{keys}</p>
  <img class="masks" width="{width}" height="{height}" src="{source}"
  alt="{count} test images, each beside its target mask and the predicted mask.">
</section>
""")
KEY = Markup('<span><i style="background:{}"></i>{}</span> ')
STYLE = """
.masks { display: block; max-width: 100%; height: auto; }
.keys span { display: inline-block; margin-right: 1rem; }
.keys i { display: inline-block; width: 0.9rem; height: 0.9rem; margin-right: 0.4rem; vertical-align: -0.1rem; }
.keys i { border: 1px solid var(--line); }
"""


@dataclass(frozen=True)
class Masks:
    """The first images of a test, on the CPU.

    Attributes:
        images: float (N, C, H, W), C is 3 or any other number; height and width may differ from those of the masks.
        targets: int64 (N, H, W); what is no class, such as 255 or -100, is shown as "no class".
        predicted: int64 (N, H, W), the class of the largest output.
        classes: how many there are.
    """

    images: Float[Tensor, "N C h w"]
    targets: Int64[Tensor, "N H W"]
    predicted: Int64[Tensor, "N H W"]
    classes: int


def first_masks(batch: Any, outputs: Any) -> Masks | None:
    """Return the first samples of a batch.

    Args:
        batch: float images (B, C, h, w) and int64 targets (B, H, W).
        outputs: float (B, classes, H, W).

    Returns:
        None if inputs, targets or outputs have other shapes: the task gives no class to each pixel.
    """
    inputs, targets = batch
    if not all(isinstance(each, Tensor) for each in (inputs, targets, outputs)):
        return None
    if (inputs.ndim, targets.ndim, outputs.ndim) != (4, 3, 4) or targets.dtype != int64 or not inputs.numel():
        return None
    if (len(outputs), *outputs.shape[2:]) != targets.shape:
        return None
    images, wanted, given = (each[:MAX_SAMPLES].detach().cpu() for each in (inputs, targets, outputs))
    return Masks(images.float(), wanted, given.argmax(1), outputs.shape[1])


def mask_section(masks: Masks, classes: Sequence[str]) -> Section:
    """Return the section with a picture and the legend of the classes in it.

    Args:
        masks: to draw.
        classes: names; where there are not as many as classes, these are numbered.
    """
    names = classes if len(classes) == masks.classes else [str(number) for number in range(masks.classes)]
    hexes = [*colours(masks.classes), NO_CLASS]
    palette = np.array([[*bytes.fromhex(each[1:])] for each in hexes], np.uint8)
    images = masks.images if masks.images.shape[1] == 3 else masks.images.mean(1, keepdim=True)
    targets, predicted = (_numbers(each, masks.classes) for each in (masks.targets, masks.predicted))
    cells = [
        cell
        for image, target, answer in zip(to_bytes(images), targets, predicted, strict=True)
        for cell in (image, _painted(target, palette), _painted(answer, palette))
    ]
    picture = grid(cells, ["image", "target", "predicted"] * len(targets), columns=3, side=SIDE)
    shown = np.union1d(targets, predicted)
    keys = Markup("").join(KEY.format(hexes[number], [*names, "no class"][number]) for number in shown)
    html = SECTION.format(
        keys=keys, width=picture.width, height=picture.height, source=png_url(picture), count=len(targets)
    )
    return Section(html, STYLE)


def colours(count: int) -> list[str]:
    """Return as many distinct colours, such as "#e69f00"."""
    if count <= len(FEW):
        return list(FEW[:count])
    strengths = ((1.0, 1.0), (0.55, 0.95), (1.0, 0.55))  # saturation and brightness, in turn
    each = (colorsys.hsv_to_rgb(number / count, *strengths[number % len(strengths)]) for number in range(count))
    return ["#" + bytes(round(255 * part) for part in colour).hex() for colour in each]


def _numbers(mask: Int64[Tensor, "N H W"], classes: int) -> Int64[np.ndarray, "N H W"]:
    """Replace all that is no class by one number, `classes`."""
    numbers: np.ndarray = mask.where((mask >= 0) & (mask < classes), classes).numpy()
    return numbers


def _painted(mask: Int64[np.ndarray, "H W"], palette: UInt8[np.ndarray, "colours 3"]) -> UInt8[np.ndarray, "3 h w"]:
    step = -(-max(mask.shape) // SIDE)  # pixels are left out: a mixture of two colours would be that of a third class
    painted: np.ndarray = palette[mask[::step, ::step]].transpose(2, 0, 1)
    return painted
