"""Draw heat maps over images."""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

HEAT = np.array([[0, 0, 0], [150, 0, 60], [255, 120, 0], [255, 255, 160]])  # RGB of heat 0, 1/3, 2/3, 1
SHARE_OF_HEAT = 0.6  # of an overlay; the rest is the image


def overlay(pixels: UInt8[np.ndarray, "C H W"], heat: Float32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "3 H W"]:
    """Return the image in grey with a heat map over it in colour; `pixels` have 1 or 3 channels, `heat` is 0 to 1."""
    grey = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).convert("L")
    steps = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(heat, steps, HEAT[:, channel]) for channel in range(3)])
    mixed = SHARE_OF_HEAT * colours + (1 - SHARE_OF_HEAT) * np.asarray(grey, dtype=np.float64)
    return mixed.astype(np.uint8)
