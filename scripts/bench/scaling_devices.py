"""The time of an epoch on several devices, one process each, with the same number of images in a step.

Without a GPU, a process with one thread stands for a device, so that two are compared with one. One process with two
threads is the other way to use two cores. Timed are training steps with the all-reduce of gradients, and not the start
of processes. In the quick form a run is a part of an epoch.
"""

import statistics
from functools import partial

import all_reduce
import torch
from alternate import alternate
from scaling import IMAGES, TRAINED, seconds_an_image, seconds_an_image_on, steps_for
from section import Chart, Section, Setup
from table import median_and_range, number

IMAGES_PER_STEP = (32, 256, 2048)  # of all devices together
REPETITIONS = 3
THREADS = "1 process, 2 threads"


def measure(setup: Setup) -> Section:
    """Measure all cases in turn."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    seconds_an_image(512, 10, setup=setup)  # warm-up
    rows, lines, raw = [], {}, {}
    sizes = IMAGES_PER_STEP if setup.full else IMAGES_PER_STEP[::2]
    for images in sizes:
        steps = steps_for(images, TRAINED, setup.full)
        calls = {
            label: partial(seconds_an_image_on, count, images // count, steps, *words, setup=setup)
            for label, count, words in ways(gpus)
        }
        found = alternate(calls, REPETITIONS, setup.limit / len(sizes))
        first = statistics.median(next(iter(found.values())))
        for (label, count, _), times in zip(ways(gpus), found.values(), strict=True):
            median = statistics.median(times)
            rows.append([images, label, *median_and_range([time * IMAGES for time in times]), first / median])
            if label != THREADS:
                lines.setdefault(f"{images:,} images a step", []).append((float(count), median * IMAGES))
        raw[f"{images} images a step"] = found
    several = [count for _, count, _ in ways(gpus) if count > 1]
    sums = {count: all_reduce.milliseconds(count, "cuda" if gpus else "cpu", setup.scratch) for count in several}
    about = f"An epoch of {IMAGES:,} images{'' if gpus else '; a process with one thread stands for a device'}."
    if sums:
        about += (
            f" An all-reduce of the gradients alone: {', '.join(f'{number(ms)} ms on {n}' for n, ms in sums.items())}."
        )
    return Section(
        "Scaling: devices",
        about,
        ["images a step", "devices", "s an epoch", "min–max", "times as fast"],
        rows,
        [],
        {"seconds_an_image": raw, "all_reduce_ms": sums},
        Chart("devices", "seconds an epoch", lines),
    )


def ways(gpus: int) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return name, number of devices and settings of each contender; the first has one device."""
    if gpus:
        return [(f"{count} GPU{'s' * (count > 1)}", count, ()) for count in (1, 2, 4, 8) if count <= gpus]
    one, two = (("trainer.accelerator=cpu", f"threads={threads}") for threads in (1, 2))
    return [("1 process", 1, one), ("2 processes", 2, one), (THREADS, 1, two)]
