"""Pictures of masks."""

import base64
import io
import re
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from lenet_lab.views.report_masks import FEW, NO_CLASS, SIDE, Masks, colours, first_masks, mask_section


def pixels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_only_images_with_a_class_for_each_pixel_are_masks() -> None:
    images, targets, outputs = torch.zeros(6, 3, 8, 8), torch.zeros(6, 4, 5, dtype=torch.int64), torch.rand(6, 7, 4, 5)
    found = first_masks((images, targets), outputs)
    assert found is not None
    assert (len(found.images), found.classes) == (4, 7)
    assert torch.equal(found.predicted, outputs[:4].argmax(1))
    for other in (
        ((images, targets.float()), outputs),
        ((images, targets[:, :3]), outputs),
        ((images, targets), outputs[:, :, :3]),
        ((images[:, 0], targets), outputs),
        ((images, targets[:, 0]), outputs),
        ((images, targets), {"out": outputs}),
        (([images], targets), outputs),
    ):
        assert first_masks(*other) is None


@pytest.mark.parametrize("count", [2, 8, 9, 21, 60])
def test_colours_are_distinct(count: int) -> None:
    found = [pixels(colour) for colour in (*colours(count), NO_CLASS)]
    assert len(found) == count + 1
    assert min(max(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in combinations(found, 2)) > 8


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_picture_has_the_colours_of_the_legend_alone(channels: int) -> None:
    targets = torch.zeros(1, 3 * SIDE, 3 * SIDE, dtype=torch.int64)
    targets[0, :100], targets[0, 100:200] = 255, 1
    masks = Masks(torch.rand(1, channels, 8, 8), targets, torch.full_like(targets, 2), 5)
    html = str(mask_section(masks, ["a", "<b>", "c", "d", "e"]).html)
    legend = re.findall(r"background:(#\w+)\"></i>([^/]*)</span>", html)
    assert legend == [(FEW[0], "a"), (FEW[1], "&lt;b&gt;"), (FEW[2], "c"), (NO_CLASS, "no class")]
    source = re.search(r"base64,([^\"]+)", html)
    assert source is not None
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source[1]))))[10 : SIDE + 6]
    target, predicted = picture[:, SIDE + 18 : 2 * SIDE + 12], picture[:, 2 * SIDE + 26 : 3 * SIDE + 20]
    assert {*map(tuple, target.reshape(-1, 3).tolist())} == {pixels(FEW[0]), pixels(FEW[1]), pixels(NO_CLASS)}
    assert {*map(tuple, predicted.reshape(-1, 3).tolist())} == {pixels(FEW[2])}


def test_classes_without_names_are_numbered() -> None:
    masks = Masks(torch.rand(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), torch.ones(1, 2, 2).long(), 3)
    assert re.findall(r"</i>(\w)</span>", str(mask_section(masks, ["a", "b"]).html)) == ["0", "1"]
