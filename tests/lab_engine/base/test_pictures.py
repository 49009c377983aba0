"""Images with captions: each stands where it should, whole, and its caption says something."""

import importlib.util

import numpy as np
import pytest

from lab_engine.base import pictures
from lab_engine.base.pictures import GAP, GREEN, RED, grid


def test_images_stand_in_rows_with_captions_below() -> None:
    images = [np.full((3, 32, 32), 10 * number, np.uint8) for number in range(5)]
    picture = np.asarray(grid(images, [f"image {number}\nsecond line" for number in range(5)], columns=3, side=64))
    height = (picture.shape[0] - GAP) // 2
    for number in range(5):
        left, top = GAP + number % 3 * (64 + GAP), GAP + number // 3 * height
        assert (picture[top : top + 64, left : left + 64] == 10 * number).all()
        assert (picture[top + 64 : top + height - GAP, left : left + 64] < 128).any()
    assert (picture[height + GAP :, GAP + 2 * (64 + GAP) :] == 255).all()  # no sixth image


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 300, 20), (3, 1, 500)])
def test_any_shape_keeps_its_proportions(shape: tuple[int, int, int]) -> None:
    picture = np.asarray(grid([np.zeros(shape, np.uint8)], [""], side=60))
    dark = np.argwhere(picture[..., 0] == 0)
    height, width = dark.max(0) - dark.min(0) + 1
    scale = 60 / max(shape[1:])
    assert (height, width) == (max(round(shape[1] * scale), 1), max(round(shape[2] * scale), 1))


def test_a_long_caption_is_cut_and_colours_show() -> None:
    image = np.full((3, 16, 16), 255, np.uint8)
    picture = np.asarray(grid([image, image], ["w" * 500, "right"], [RED, GREEN], side=64)).astype(int)
    left, right = picture[:, : GAP + 64], picture[:, GAP + 64 + GAP :]
    assert (left[..., 0] - left[..., 1] > 100).any()
    assert (right[..., 1] - right[..., 0] > 50).any()
    assert (picture[:, GAP + 64 : GAP + 64 + GAP] == 255).all()  # what is cut does not reach the next image


def test_a_name_that_is_cut_keeps_its_end() -> None:
    image = np.full((3, 16, 16), 255, np.uint8)
    first, second = (np.asarray(grid([image], [f"IMG_2024_05_17_12_30_000{number}.jpg"])) for number in (1, 2))
    assert (first != second).any()


def test_no_images_give_an_empty_picture() -> None:
    assert grid([], []).size > (0, 0)


def test_without_the_font_of_matplotlib_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    pictures._font.cache_clear()
    try:
        picture = np.asarray(grid([np.full((3, 16, 16), 255, np.uint8)], ["a caption"], side=64))
    finally:
        pictures._font.cache_clear()
    assert (picture[GAP + 64 :] < 128).any()
