"""Images with captions, as one picture."""

import base64
import functools
import importlib.util
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

GAP = 8  # pixels around each image
FONT_SIZE = 12
BLACK, GREEN, RED = "#202124", "#137333", "#c5221f"


def grid(
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    colours: Sequence[str] | None = None,
    columns: int = 8,
    side: int = 96,
) -> Image.Image:
    """Arrange images in rows, on white, each with its caption below.

    Args:
        images: uint8 (C, H, W) each, C is 1 or 3; of one shape or of several.
        captions: one each; in lines that are too wide for the image, the middle is left out.
        colours: of the captions, one each, as Pillow knows them; None: black.
        columns: images in a row.
        side: pixels, to which the longer side of each image is enlarged or reduced.

    Returns:
        An RGB picture; one white cell if there are no images.
    """
    font = _font()
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    width, height = side + GAP, side + GAP + round(lines * FONT_SIZE * 1.3)
    columns = max(min(columns, len(images)), 1)
    picture = Image.new(
        "RGB", (columns * width + GAP, max(math.ceil(len(images) / columns), 1) * height + GAP), "white"
    )
    draw = ImageDraw.Draw(picture)
    for number, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        image = _enlarged(pixels, side)
        picture.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
        text = "\n".join(_cut(line, font, side) for line in caption.split("\n"))
        draw.multiline_text((left, top + side + 2), text, colours[number] if colours else BLACK, font, spacing=1)
    return picture


def png_url(picture: Image.Image) -> str:
    """Return a picture as the address of an `<img>`, which holds the PNG itself: a report loads no other file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Matplotlib's font, which has the letters of most European languages; Pillow's has only English ones."""
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is None or matplotlib.origin is None:
        return ImageFont.load_default(FONT_SIZE)
    return ImageFont.truetype(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", FONT_SIZE)


def _enlarged(pixels: npt.NDArray[np.uint8], side: int) -> Image.Image:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).convert("RGB")
    scale = side / max(image.size)
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR  # pixels as the network sees them
    return image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)), method)


def _cut(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut the middle of a line: names of photographs often differ only at their end."""
    text, kept = line, len(line)
    while kept and font.getlength(text) > width:
        kept -= 1
        text = f"{line[: (kept + 1) // 2]}…{line[len(line) - kept // 2 :]}"
    return text
