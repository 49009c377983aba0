"""The time of an epoch at batch 4 to 4096.

Each run uses the defaults of `lenet_lab`, also for threads. In the quick form a run is a part of an epoch, and the
epoch is computed from it.
"""

import statistics
from functools import partial

import numpy as np
from alternate import alternate
from scaling import IMAGES, TRAINED, seconds_an_image, steps_for
from section import Chart, Section, Setup
from table import median_and_range, number

BATCHES = (4, 16, 64, 256, 1024, 4096)
REPETITIONS = 3


def measure(setup: Setup) -> Section:
    """Measure all sizes in turn."""
    seconds_an_image(512, 10, setup=setup)  # warm-up
    calls = {
        f"batch {batch}": partial(seconds_an_image, batch, steps_for(batch, TRAINED, setup.full), setup=setup)
        for batch in BATCHES
    }
    found = alternate(calls, REPETITIONS, setup.limit)
    rows, points = [], []
    for batch, times in zip(BATCHES, found.values(), strict=True):
        median = statistics.median(times)
        epochs = [time * IMAGES for time in times]
        rows.append([batch, 1e3 * median * batch, *median_and_range(epochs), 1 / median])
        points.append((float(batch), median * IMAGES))
    fixed, an_image = step_costs([row[0] for row in rows], [row[1] for row in rows])
    return Section(
        "Scaling: images in a batch",
        f"An epoch of {IMAGES:,} images. A step takes about {number(fixed)} ms and {number(1e3 * an_image)} µs per "
        f"image: both parts are equal at batch {number(fixed / an_image)}.",
        ["batch", "ms a step", "s an epoch", "min–max", "images a second"],
        rows,
        [],
        {"seconds_an_image": found, "fixed_ms": fixed, "ms_an_image": an_image},
        Chart("images in a batch", "seconds an epoch", {"lenet_lab": points}, log=True),
    )


def step_costs(batches: list[int], milliseconds: list[float]) -> tuple[float, float]:
    """Fit a + b x batch to the steps, all sizes with the same relative weight; return a and b."""
    sizes, times = np.array(batches, float), np.array(milliseconds)
    columns = np.stack([np.ones_like(sizes), sizes], axis=1) / times[:, None]
    (fixed, an_image), *_ = np.linalg.lstsq(columns, np.ones_like(times), rcond=None)
    return float(fixed), float(an_image)
