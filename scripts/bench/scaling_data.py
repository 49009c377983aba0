"""The time of an epoch with 1 to 20 times as many images.

The decoded images are repeated in one store, of which smaller sizes take the first rows; it takes at most a third of
the free memory and disk. Training is at batch 512, where reading the images is the largest part of a step. In the quick
form a run is a part of an epoch, drawn from all images, and the epoch is computed from it.
"""

import shutil
import statistics
import sys
from functools import partial
from pathlib import Path

import psutil
import yaml
from alternate import alternate
from scaling import IMAGES, TRAINED, seconds_an_image, steps_for
from section import Chart, Section, Setup
from table import median_and_range

TIMES = (1, 2, 5, 10, 20)
BATCH = 512
REPETITIONS = 3
BYTES = IMAGES * 3 * 32 * 32
SHARE = 1 / 3  # of the free memory and disk


def measure(setup: Setup) -> Section:
    """Measure all sizes in turn."""
    room = min(psutil.virtual_memory().available, shutil.disk_usage(setup.scratch).free) * SHARE
    sizes = [times for times in TIMES if times * BYTES <= room] or [1]
    if len(sizes) < len(TIMES):
        print(f"left out, as memory or disk is too small: {TIMES[len(sizes) :]} times", file=sys.stderr)
    calls = {f"{times} times": partial(epoch, times, max(sizes), setup) for times in sizes}
    epoch(max(sizes), max(sizes), setup, steps=10)  # makes the store, and warms up
    found = alternate(calls, REPETITIONS, setup.limit)
    rows, points = [], []
    for times, seconds in zip(sizes, found.values(), strict=True):
        median = statistics.median(seconds)
        images = times * IMAGES
        rows.append([times, images, times * BYTES / 1e6, *median_and_range(seconds), 1e6 * median / images])
        points.append((float(times), median))
    return Section(
        "Scaling: images in the data",
        f"Decoded images repeated, batch {BATCH}, seconds of an epoch's training steps.",
        ["times CIFAR-10", "images", "MB", "s an epoch", "min–max", "µs an image"],
        rows,
        [],
        {"seconds": found},
        Chart("times as many images as CIFAR-10", "seconds an epoch", {"lenet_lab": points}, log=True),
    )


def epoch(times: int, stored: int, setup: Setup, steps: int | None = None) -> float:
    """Return the seconds of an epoch with `times` as many images."""
    conf = Path(setup.scratch, "conf", str(times), "data")
    if not conf.is_dir():
        conf.mkdir(parents=True)
        where = {"root": str(setup.data), "cache": str(setup.scratch), "stored": stored, "times": times}
        text = yaml.safe_dump({"defaults": ["common/loading@_here_"], "_target_": "repeated.Repeated", **where})
        (conf / "repeated.yaml").write_text(text)
    steps = steps or steps_for(BATCH, times * TRAINED, setup.full)
    return times * IMAGES * seconds_an_image(BATCH, steps, "data=repeated", setup=setup, config_dir=conf.parent)
