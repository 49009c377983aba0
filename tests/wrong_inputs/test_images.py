"""Odd images: what is fine is taken, and converted as said here; what is not is named, with a reason."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab_engine.images.decode import FORMATS, ImageFormat, decode
from tests.conftest import Command, Result, write_images

RGB, GREY = (ImageFormat(channels, 4, 4) for channels in (3, 1))
SIZE = (4, 4)


def palette(folder: Path) -> Path:
    image = Image.new("P", SIZE, 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(folder / "x.png", transparency=1)
    return folder / "x.png"


def sixteen_bits(suffix: str) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        Image.fromarray(np.full(SIZE, 100 * 257 + 200, np.uint16)).save(folder / f"x.{suffix}")
        return folder / f"x.{suffix}"

    return save


def animated(suffix: str, **options: object) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        frames = [Image.new("RGB", SIZE, colour) for colour in ((10, 20, 30), (200, 0, 0))]
        frames[0].save(folder / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
        return folder / f"x.{suffix}"

    return save


def plain(mode: str, colour: object, suffix: str = "png") -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        Image.new(mode, SIZE, colour).save(folder / f"x.{suffix}")  # type: ignore[arg-type]
        return folder / f"x.{suffix}"

    return save


TURNED_GREY = 18  # 0.299 · 10 + 0.587 · 20 + 0.114 · 30


@pytest.mark.parametrize(
    ("save", "colour", "grey"),
    [
        (plain("1", 1), (255, 255, 255), 255),
        (plain("L", 100), (100, 100, 100), 100),
        (plain("LA", (100, 0)), (100, 100, 100), 100),  # transparency is dropped, the colour below it stays
        (plain("RGBA", (10, 20, 30, 0)), (10, 20, 30), TURNED_GREY),
        (palette, (10, 20, 30), TURNED_GREY),  # the colours of the palette, with one of them transparent
        (sixteen_bits("png"), (100, 100, 100), 100),  # the upper 8 bits, so to speak: 65535 becomes 255
        (sixteen_bits("tif"), (100, 100, 100), 100),
        (plain("CMYK", (100, 0, 255, 51), "tif"), (124, 204, 0), 157),  # (255 - C) · (255 - K) / 255
        (animated("gif"), (10, 20, 30), TURNED_GREY),  # its first frame
        (animated("png"), (10, 20, 30), TURNED_GREY),
        (animated("webp", lossless=True), (10, 20, 30), TURNED_GREY),
    ],
    ids=["1", "L", "LA", "RGBA", "P", "I;16 PNG", "I;16 TIFF", "CMYK", "GIF", "APNG", "WEBP"],
)
def test_a_mode_becomes_these_pixels(
    save: Callable[[Path], Path], colour: tuple[int, int, int], grey: int, tmp_path: Path
) -> None:
    file = str(save(tmp_path))
    found = decode(file, RGB)
    assert not isinstance(found, str), found
    assert np.abs(found.reshape(3, -1).T.astype(int) - colour).max() <= 1
    found = decode(file, GREY)
    assert np.abs(np.asarray(found).astype(int) - grey).max() <= 1


def test_what_a_camera_has_turned_is_turned_back(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the row that is first is to be on the right
    image.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(np.asarray(decode(str(tmp_path / "x.png"), GREY))[0], np.rot90(np.asarray(image), -1))


def floats(folder: Path) -> Path:
    Image.fromarray(np.full(SIZE, 0.5, np.float32)).save(folder / "x.tif")
    return folder / "x.tif"


def large_numbers(folder: Path) -> Path:
    Image.fromarray(np.full(SIZE, 70_000, np.int32)).save(folder / "x.tif")
    return folder / "x.tif"


@pytest.mark.parametrize(
    ("save", "why"),
    [
        (floats, "its pixels are floats; convert it to 8 or 16 bits"),
        (large_numbers, "its pixels are whole numbers beyond 16 bits; convert it to 8 or 16 bits"),
        (plain("RGB", "red", "eps"), f"not an image in a supported format: {', '.join(FORMATS)}"),
    ],
    ids=["floats", "32 bits", "EPS"],
)
def test_pixels_that_nobody_can_place_are_not_guessed(save: Callable[[Path], Path], why: str, tmp_path: Path) -> None:
    assert decode(str(save(tmp_path)), RGB) == why


NAMES = ["a b", "größe 猫", "new\nline", "\udcff", "-m", "${x}", "x.png"]
"""Of classes, and of the files in them; the last one is a folder with the name of an image."""


@pytest.fixture(scope="module")
def odd_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes with odd names, and in them besides images what is none, and is passed over."""
    root = tmp_path_factory.mktemp("odd") / "images"
    for number, name in enumerate(NAMES):
        write_images(root / name, 10, number % 4)
        for file, other in zip(sorted((root / name).iterdir()), NAMES, strict=False):
            file.rename(root / name / (other if other.endswith(".png") else f"{other}.png"))
    write_images(root / "a b" / "sub.png", 2, 0)
    os.mkfifo(root / "a b" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(root / "a b")  # the path of a socket must be short
        listening.bind("socket.png")
    (root / "a b" / "loop").symlink_to(root)
    (root / "a b" / "self.png").symlink_to("self.png")
    (root / "a b" / "lost.png").symlink_to("nowhere.png")
    (root / "a b" / ".hidden.png").write_text("no image")
    return root


def test_odd_names_train_like_others(command: Command, odd_tree: Path) -> None:
    words = ["data.batch_size=8", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    result = command("train", "data=image_folder", f"data.root={odd_tree}", *words)
    assert (result.status, result.err) == (0, "")
    assert result.metrics["test/count"] == 14  # a fifth of each class
    assert {name for name in result.metrics if name.startswith("test/accuracy/")} >= {"test/accuracy/größe 猫"}
    assert "größe 猫" in (result.folder / "report.html").read_text()


def test_each_file_that_cannot_be_read_is_named_with_a_reason(
    command: Command, digits_run: Result, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    write_images(folder, 3, 0)
    good = (folder / "0000.png").read_bytes()
    for name, content in {"empty.png": b"", "text.jpg": b"no image", "cut.png": good[:-500]}.items():
        (folder / name).write_bytes(content)
    (folder / "half.png").write_bytes(good[: len(good) // 2])
    Image.new("1", (15_000, 15_000)).save(folder / "bomb.png")
    result = command("predict", f"checkpoint={digits_run.folder}/checkpoints/best.ckpt", "images=images", COLUMNS="200")
    assert result.status == 2
    assert result.err == "error: 5 of 8 files could not be read; the others are done.\n"
    rows = {line.split()[0]: line for line in result.out.splitlines() if line.strip().startswith("images/")}
    assert "the file is empty" in rows["images/empty.png"]
    assert "not an image in a supported format" in rows["images/text.jpg"]
    assert "truncated" in rows["images/cut.png"]
    assert "truncated" in rows["images/half.png"]
    assert "225000000 pixels" in rows["images/bomb.png"]
    table = (result.folder / "predictions.csv").read_text()
    assert table.count("\n") == 9  # what could not be read has a row, too
