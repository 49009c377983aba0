"""Whatever the bytes are, an image file gives pixels or a line on why not."""

import io
import logging
import resource
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lab_engine.images.decode import MAX_REASON, ImageFormat, decode
from tests.properties import examples

WANTED = [ImageFormat(3, 8, 8), ImageFormat(1, 5, 9, "crop"), ImageFormat(3, 20, 20, "pad")]


def whole_files() -> list[bytes]:
    """Small files of many formats and modes."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 11, 3), dtype=np.uint8)
    rgb = Image.fromarray(noise)
    wide = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    frames = [Image.fromarray(np.roll(noise, shift)).convert("P") for shift in (3, 6)]
    saved: list[tuple[Image.Image, str, dict[str, object]]] = [
        *((rgb.convert(mode), "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        (wide, "PNG", {}),
        (wide, "TIFF", {}),
        (rgb, "PNG", {"save_all": True, "append_images": frames}),
        (rgb, "JPEG", {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}),  # turned
        (rgb, "JPEG", {"progressive": True}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (frames[0], "GIF", {"save_all": True, "append_images": frames}),
        (rgb, "BMP", {}),
        *((rgb, "TIFF", {"compression": compression}) for compression in (None, "tiff_lzw", "packbits")),
        (rgb.convert("CMYK"), "TIFF", {}),
        (rgb, "WEBP", {"lossless": True}),
        (rgb, "WEBP", {"save_all": True, "append_images": frames}),
        (rgb, "ICO", {"sizes": [rgb.size]}),  # Pillow 11 has no default that small
        (rgb, "TGA", {}),
        (rgb, "PPM", {}),
    ]  # fmt: skip
    streams = [io.BytesIO() for _ in saved]
    for stream, (image, kind, options) in zip(streams, saved, strict=True):
        image.save(stream, kind, **options)
    return [stream.getvalue() for stream in streams]


WHOLE = whole_files()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file that is cut, has some bytes changed, or lacks or repeats a piece."""
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for place, value in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)):
        content[place] = value
    start, stop = sorted(draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
    change = draw(st.sampled_from(["none", "cut", "lack", "repeat"]))
    if change == "cut":
        del content[stop:]
    elif change == "lack":
        del content[start:stop]
    elif change == "repeat":
        content[start:start] = content[start:stop]
    return bytes(content)


@pytest.mark.parametrize("content", WHOLE, ids=range(len(WHOLE)))
def test_the_files_are_good_before_they_are_damaged(content: bytes) -> None:
    assert not isinstance(decode(content, WANTED[0]), str)


def check(content: bytes, wanted: ImageFormat) -> str:
    found = decode(content, wanted)
    if isinstance(found, str):
        assert 0 < len(found) <= MAX_REASON
        assert found.isprintable()
        return found
    assert (found.dtype, found.shape) == (np.uint8, wanted.shape)
    return ""


class Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@examples(400)
@given(damaged(), st.sampled_from(WANTED))
def test_a_damaged_file_gives_pixels_or_a_line(content: bytes, wanted: ImageFormat) -> None:
    listener = Listener()
    logging.getLogger("PIL").addHandler(listener)
    try:
        check(content, wanted)  # warnings are errors here
    finally:
        logging.getLogger("PIL").removeHandler(listener)
    assert listener.said == []


@examples(100)
@given(st.binary(max_size=200), st.sampled_from([b"", *{content[:8] for content in WHOLE}]))
def test_bytes_that_mean_nothing_give_a_line(content: bytes, begin: bytes) -> None:
    check(begin + content, WANTED[0])


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG file of this size, and a few of its pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def bmp_of(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 1054, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(1000)


def gif_of(width: int, height: int) -> bytes:
    width, height = min(width, 65535), min(height, 65535)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\2\x4c\1\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame + b"\x3b"


SIDES = st.integers(1, 2**31 - 1) | st.integers(9000, 70000)


@examples(100)
@given(SIDES, SIDES, st.sampled_from([png_of, bmp_of, gif_of]))
def test_what_would_unpack_to_more_than_memory_is_refused_before_it_does(width: int, height: int, make: object) -> None:
    content = make(width, height)  # type: ignore[operator]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = check(content, WANTED[0])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    pixels = min(width, 65535) * min(height, 65535) if make is gif_of else width * height
    if pixels > Image.MAX_IMAGE_PIXELS:
        assert found
        assert grown < 30  # MiB; the smallest of these has 340 as RGB
