"""Heat maps in colour over the images that they explain."""

import numpy as np
import numpy.typing as npt
from PIL import Image

HEAT = np.array([[0, 0, 0], [150, 0, 60], [255, 120, 0], [255, 255, 160]])  # RGB of heat 0, 1/3, 2/3, 1
SHARE_OF_HEAT = 0.6  # of an overlay; the rest is the image


def overlay(pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Lay a heat map (H, W), 0 to 1, over an image (C, H, W), from which colours are taken: uint8 (3, H, W)."""
    grey = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).convert("L")
    steps = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(heat, steps, HEAT[:, channel]) for channel in range(3)])
    mixed = SHARE_OF_HEAT * colours + (1 - SHARE_OF_HEAT) * np.asarray(grey, dtype=np.float64)
    return mixed.astype(np.uint8)
