"""Write src/lenet_lab/data/digits.npz from scikit-learn's copy of the digits: `python scripts/embed_digits.py`.

The file has images, uint8 (1797, 8, 8) of values 0 to 16, and labels, uint8 (1797,).
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "src/lenet_lab/data/digits.npz"

digits = load_digits()
np.savez_compressed(TARGET, images=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8))
print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")
