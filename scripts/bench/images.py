"""CIFAR-10 as image files, which every contender can read: the user's own, the official archive, or a stand-in."""

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lenet_lab.data.datamodule import ImageDataModule

VARIABLE = "LENET_LAB_CIFAR10_IMAGES"
SPLITS = {"train": 50_000, "test": 10_000}


class NoImagesError(Exception):
    """The named folder does not hold the images; the text says what to give instead."""


@dataclass(frozen=True)
class Images:
    """A folder with train/<class>/* and test/<class>/*; `real` is whether they are CIFAR-10."""

    folder: Path
    about: str
    real: bool


def find(given: Path | None, place: Path) -> Images:
    """Return the images to measure with.

    Args:
        given: a folder; else that of `VARIABLE`, then CIFAR-10 as `data=cifar10` finds or downloads it, then digits.
        place: folder that keeps the files made here for the next time.

    Raises:
        NoImagesError: the named folder does not hold train and test images of ten classes.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        return _named(named.absolute(), "DATA" if given else VARIABLE)
    return _official(place) or _digits(place)


def decode(images: Images) -> None:
    """Decode the images into the cache of `lenet_lab`, so that no section has to."""
    from command import on_images

    data_module(*on_images(images.folder)).prepare_data()


def data_module(*words: str) -> "ImageDataModule":
    """Build the data module of a command with these words; nothing is loaded yet."""
    from lab_engine.training.build import build_data
    from lenet_lab.compose import compose

    return cast("ImageDataModule", build_data(compose(*words)))


def _named(folder: Path, said: str) -> Images:
    counts = {}
    for split in SPLITS:
        classes = [entry for entry in folder.joinpath(split).glob("*") if entry.is_dir()]
        if len(classes) != 10:
            cure = "Give one with train/<class>/* and test/<class>/*, ten classes of 32x32 images."
            raise NoImagesError(f"{said}={folder}: {split}/ has {len(classes)} class folders instead of 10.\n{cure}")
        counts[split] = sum(sum(1 for _ in entry.iterdir()) for entry in classes)
    kinds = {file.suffix.lower() for entry in classes for file in list(entry.iterdir())[:3]}
    jpeg = " JPEG," if kinds <= {".jpg", ".jpeg"} else ""
    about = f"images of {folder},{jpeg} {counts['train']:,} to train on and {counts['test']:,} to test on"
    return Images(folder, about, real=counts == SPLITS)


def _official(place: Path) -> Images | None:
    """Write the official images as PNG files, once; return None if they are not available."""
    folder = place / "cifar10"
    about = "CIFAR-10 as PNG files, 50,000 to train on and 10,000 to test on"
    if not folder.is_dir():
        from lab_engine.base.errors import UserError

        print("images: CIFAR-10 as data=cifar10 finds it, or downloads it: 170 MB")
        try:
            splits = data_module("data=cifar10").load()
        except UserError as error:
            print(f"images: {str(error).splitlines()[0]}")
            return None
        part = _empty(place / "cifar10.part")
        for split, found in zip(SPLITS, splits, strict=True):
            _write(np.asarray(found.images), np.asarray(found.labels), found.classes, part / split)
        part.rename(folder)
    return Images(folder, about, real=True)


def _digits(place: Path) -> Images:
    """Write as many files as CIFAR-10 has: the digits in three channels, each of them many times."""
    folder = place / "digits"
    about = "NOT CIFAR-10 but as many digits of the same size, repeated: times are valid, accuracies mean nothing"
    if not folder.is_dir():
        part = _empty(place / "digits.part")
        for (split, count), found in zip(SPLITS.items(), data_module("data=digits").load(), strict=True):
            pixels = np.repeat(np.asarray(found.images), 3, axis=1)
            _write(pixels, np.asarray(found.labels), found.classes, part / split)
            _repeat(part / split, count)
        part.rename(folder)
    return Images(folder, about, real=False)


def _repeat(split: Path, count: int) -> None:
    """Copy or delete files of each class until there are `count` in all, a tenth of them in each class."""
    for entry in sorted(split.iterdir()):
        files = sorted(entry.iterdir())
        for number in range(len(files), count // 10):
            shutil.copyfile(files[number % len(files)], entry / f"{number:05d}.png")
        for file in files[count // 10 :]:
            file.unlink()


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: tuple[str, ...], split: Path) -> None:
    """Write images (N, 3, H, W) as PNG files, with one process per class."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        rows = [images[labels == label] for label in range(len(classes))]
        list(pool.map(_write_class, rows, [split / name for name in classes]))


def _write_class(images: npt.NDArray[np.uint8], folder: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number:05d}.png", compress_level=1)
