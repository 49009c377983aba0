"""Decoding of image files to uint8 arrays, on all cores."""

import io
import logging
import signal
import stat
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from lab_engine.base.bar import Bar
from lab_engine.base.devices import cores
from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, printable, shortened
from lab_engine.images.files import has_image_suffix
from lab_engine.images.store import GUARD

log = logging.getLogger(__name__)

MAX_REASON = 120  # characters of the reason why a file cannot be read
FILES_PER_BLOCK = 512  # decoded by a worker process before it reports back
MIN_FILES_FOR_POOL = 2048  # below this, starting worker processes takes longer than decoding
FILES_TO_TIME = 16  # decoded first, to estimate the time for all
MIN_SECONDS_FOR_POOL = 2.0  # of decoding; below this, starting worker processes takes longer than they save
SECONDS_PER_PIECE = 0.5  # that a worker process decodes before it reports back, roughly: Ctrl-C waits for it

FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
"""Formats that are read. Pillow's others are rare and little tested, and for EPS it starts Ghostscript."""
RESIZE: dict[str, Callable[..., Image.Image]] = {
    "stretch": lambda image, size: image.resize(size, Image.Resampling.BILINEAR),
    "crop": partial(ImageOps.fit, method=Image.Resampling.BILINEAR),
    "pad": partial(ImageOps.pad, method=Image.Resampling.BILINEAR),
}
"""Ways to bring an image of any size to (width, height): ignore its proportions, cut its edges, add black edges."""


@dataclass(frozen=True)
class ImageFormat:
    """The format to which every image is converted.

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


def read_image(path: str | Path | IO[bytes], wanted: ImageFormat) -> npt.NDArray[np.uint8]:
    """Decode a file of one of `FORMATS`, in any mode; of several frames, the first.

    Args:
        path: the file, or its content.
        wanted: the format to convert it to.

    Returns:
        uint8 (C, H, W).

    Raises:
        Exception: the file cannot be decoded; of any type, because Pillow's decoders do not catch all errors.
    """
    with Image.open(path, formats=FORMATS) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow's own conversion would clip at 255
            image = Image.fromarray((_of_16_bits(image) // 257).astype(np.uint8))
        elif image.mode == "F":  # clipped likewise, and it is not known whether 1.0 or 255.0 is white
            raise ValueError("its pixels are floats; convert it to 8 or 16 bits")
        return convert(image, wanted)


def convert(image: Image.Image, wanted: ImageFormat) -> npt.NDArray[np.uint8]:
    """Return an image of 8 bits per channel as uint8 (C, H, W), in the format wanted."""
    image = image.convert("RGB" if wanted.channels == 3 else "L")
    if image.size != (wanted.width, wanted.height):
        image = RESIZE[wanted.resize](image, (wanted.width, wanted.height))
    pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if wanted.channels == 3 else pixels[None]


def _of_16_bits(image: Image.Image) -> npt.NDArray[np.int64]:
    pixels = np.asarray(image).astype(np.int64)
    if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
        raise ValueError("its pixels are whole numbers beyond 16 bits; convert it to 8 or 16 bits")
    return pixels


def is_image(file: str | bytes) -> bool:
    """Return whether a file is an image by its suffix, or its content begins as one of `FORMATS` does.

    Args:
        file: its path, or its content. A file that may not be opened counts as an image.
    """
    if isinstance(file, str):
        if has_image_suffix(file):
            return True
        if not Path(file).is_file():  # opening a pipe would wait for ever
            return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images
        try:
            Image.open(file if isinstance(file, str) else io.BytesIO(file), formats=FORMATS).close()
        except UnidentifiedImageError:
            return False
        except Exception:  # see `read_image`
            return True
    return True


def decode(file: str | bytes, wanted: ImageFormat) -> npt.NDArray[np.uint8] | str:
    """Decode a path or a file's content as `read_image` does; return the reason if it fails."""
    with warnings.catch_warnings():
        # A small file that unpacks to gigabytes is refused; Pillow's other warnings do not concern the user.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            if isinstance(file, str):
                facts = Path(file).stat()
                if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
                    return "not an ordinary file"
                if facts.st_size == 0:
                    return "the file is empty"
            return read_image(file if isinstance(file, str) else io.BytesIO(file), wanted)
        except UnidentifiedImageError:
            return f"not an image in a supported format: {', '.join(FORMATS)}"
        except Exception as error:
            why = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
            return shortened(why.replace("\n", " "), MAX_REASON)


def decode_batches(
    files: Sequence[str | bytes], wanted: ImageFormat, batch_size: int
) -> Iterator[list[npt.NDArray[np.uint8] | str]]:
    """Decode in order, on all cores if decoding takes long; only a few batches are in memory at a time.

    Args:
        files: paths, or files' contents.
        wanted: the format to convert each image to.
        batch_size: at most; some batches are smaller.

    Yields:
        For each file of a batch its image, uint8 (C, H, W), or the reason why it cannot be decoded.

    Raises:
        UserError: a worker process has died.
    """
    Image.init()  # so that it does not count as time of the first files
    started = time.perf_counter()
    first = min(FILES_TO_TIME, batch_size)
    decoded = _decode_each(files[:first], wanted)
    seconds_each = (time.perf_counter() - started) / first
    yield decoded
    left, workers = len(files) - first, cores()
    if workers == 1 or seconds_each * left < MIN_SECONDS_FOR_POOL:
        for start in range(first, len(files), batch_size):
            yield _decode_each(files[start : start + batch_size], wanted)
        return
    size = max(min(batch_size, left // (4 * workers), int(SECONDS_PER_PIECE / seconds_each)), 1)
    waiting: deque[Future[list[npt.NDArray[np.uint8] | str]]] = deque()
    with _pool(workers) as pool:
        for start in range(first, len(files), size):
            if len(waiting) == 2 * workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_decode_each, files[start : start + size], wanted))
        while waiting:
            yield waiting.popleft().result()


def _decode_each(files: Sequence[str | bytes], wanted: ImageFormat) -> list[npt.NDArray[np.uint8] | str]:
    return [decode(file, wanted) for file in files]


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # "spawn", because a fork copies the locks of the parent's threads (progress bar, torch) but not the threads.
    # The workers ignore Ctrl-C: the parent handles it and ends them.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            f"The processes that decode images have died; their error messages are above.\n{GUARD}."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def decode_files(files: Sequence[str], target: Path, wanted: ImageFormat) -> Iterator[tuple[int, str]]:
    """Decode `files` into the rows of a .npy file, with a progress bar, and yield those that failed.

    Args:
        files: paths, one for each row.
        target: .npy file, uint8 (len(files), C, H, W).
        wanted: the format to convert each image to.

    Yields:
        Row of a file that cannot be decoded, and the reason; the other rows are filled once the iterator is exhausted.
    """
    starts = range(0, len(files), FILES_PER_BLOCK)
    blocks = [files[start : start + FILES_PER_BLOCK] for start in starts]
    decode_block = partial(_decode_block, target=target, wanted=wanted)
    log.info("Decoding %s, once; later runs start from the result.", counted(len(files), "image"))
    with Bar("decoding", len(files), "image") as bar:
        if len(files) < MIN_FILES_FOR_POOL or cores() == 1:
            yield from _report(map(decode_block, blocks, starts), blocks, bar)
            return
        with _pool(min(cores(), len(blocks))) as pool:
            yield from _report(pool.map(decode_block, blocks, starts), blocks, bar)


def rows_to_skip(failed: Iterable[tuple[int, str]], files: Sequence[str], on_bad_file: str) -> list[int]:
    """Return the rows of the images that are left out, and warn of each.

    Args:
        failed: rows of images that cannot be decoded, and the reasons.
        files: paths, one for each row.
        on_bad_file: "error" or "skip".

    Raises:
        UserError: an image cannot be decoded, and `on_bad_file` is "error".
    """
    rows = []
    for row, why in failed:
        if on_bad_file != "skip":
            raise UserError(
                f"{printable(files[row])} cannot be decoded: {why}\n"
                "Replace or remove it, or set data.on_bad_file=skip to leave it out."
            )
        log.warning("Skipped %s: %s", printable(files[row]), why)
        rows.append(row)
    return rows


def _report(
    failures: Iterable[list[tuple[int, str]]], blocks: Sequence[Sequence[str]], bar: Bar
) -> Iterator[tuple[int, str]]:
    for failed, block in zip(failures, blocks, strict=True):
        yield from failed
        bar.advance(len(block))


def _decode_block(files: Sequence[str], first_row: int, *, target: Path, wanted: ImageFormat) -> list[tuple[int, str]]:
    rows = np.load(target, mmap_mode="r+")
    failed = []
    for row, path in enumerate(files, first_row):
        decoded = decode(path, wanted)
        if isinstance(decoded, str):
            failed.append((row, decoded))
        else:
            rows[row] = decoded
    rows.flush()
    return failed
