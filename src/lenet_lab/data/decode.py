"""Image files to uint8 arrays, on all cores."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from tqdm import tqdm

from lenet_lab.data.store import GUARD
from lenet_lab.errors import UserError

log = logging.getLogger(__name__)

FILES_A_BLOCK = 512  # what one worker decodes before it reports back
FILES_WORTH_A_POOL = 2048  # below this, starting worker processes takes longer than decoding

RESIZE: dict[str, Callable[..., Image.Image]] = {
    "stretch": lambda image, size: image.resize(size, Image.Resampling.BILINEAR),
    "crop": partial(ImageOps.fit, method=Image.Resampling.BILINEAR),
    "pad": partial(ImageOps.pad, method=Image.Resampling.BILINEAR),
}
"""Ways to bring an image of any size to (width, height): ignore its proportions, cut its edges, add black edges."""


@dataclass(frozen=True)
class ImageFormat:
    """What every image is converted to.

    Attributes:
        channels: 1 (grey) or 3 (RGB); transparency is dropped.
        height: pixels.
        width: pixels.
        resize: a key of `RESIZE`, for images of another size.
    """

    channels: int
    height: int
    width: int
    resize: str = "stretch"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


def read_image(path: str | Path, wanted: ImageFormat) -> npt.NDArray[np.uint8]:
    """Decode one file of any format and mode that Pillow reads, its first frame if it has several.

    Args:
        path: the file.
        wanted: what to convert it to.

    Returns:
        uint8 (C, H, W).

    Raises:
        OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError: the file cannot be decoded.
    """
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits a pixel: Pillow's own conversion would clip at 255
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        image = image.convert("RGB" if wanted.channels == 3 else "L")
        if image.size != (wanted.width, wanted.height):
            image = RESIZE[wanted.resize](image, (wanted.width, wanted.height))
        pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if wanted.channels == 3 else pixels[None]


def decode_files(files: Sequence[str], target: Path, wanted: ImageFormat) -> Iterator[tuple[int, str]]:
    """Decode `files` into the rows of a .npy file, with a progress bar, and give those that failed.

    Args:
        files: what to decode, one row each.
        target: .npy file, uint8 (len(files), C, H, W).
        wanted: what to convert each image to.

    Yields:
        Row of a file that cannot be decoded, and why; the other rows are filled once the iterator is exhausted.
    """
    starts = range(0, len(files), FILES_A_BLOCK)
    blocks = [files[start : start + FILES_A_BLOCK] for start in starts]
    decode = partial(_decode_block, target=target, wanted=wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    log.info("Decoding %d images, once; later runs start from the result.", len(files))
    with tqdm(total=len(files), desc="decoding", unit=" images", disable=not sys.stderr.isatty()) as bar:
        if len(files) < FILES_WORTH_A_POOL or cores == 1:
            yield from _report(map(decode, blocks, starts), blocks, bar)
            return
        # "spawn": the parent may hold threads (progress bar, torch) that a fork would copy half-way
        pool = ProcessPoolExecutor(min(cores, len(blocks)), mp_context=get_context("spawn"))
        try:
            yield from _report(pool.map(decode, blocks, starts), blocks, bar)
        except BrokenProcessPool as error:
            raise UserError(
                f"The processes that decode images have died; what they said stands above.\n{GUARD}."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _report(
    failures: Iterable[list[tuple[int, str]]], blocks: Sequence[Sequence[str]], bar: "tqdm[None]"
) -> Iterator[tuple[int, str]]:
    for failed, block in zip(failures, blocks, strict=True):
        yield from failed
        bar.update(len(block))


def _decode_block(files: Sequence[str], first_row: int, *, target: Path, wanted: ImageFormat) -> list[tuple[int, str]]:
    rows = np.load(target, mmap_mode="r+")
    failed = []
    with warnings.catch_warnings():
        # A small file that unpacks to gigabytes is refused; other complaints of Pillow's do not concern the user.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, path in enumerate(files, first_row):
            try:
                rows[row] = read_image(path, wanted)
            except (OSError, ValueError, SyntaxError, EOFError) as error:
                failed.append((row, str(error)))
            except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
                failed.append((row, str(error)))
    rows.flush()
    return failed
