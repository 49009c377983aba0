"""The time of augmentation: on whole batches here, and one image after the other in torchvision.

Compared are the augmentations of `lenet_lab.data.augment`, torchvision's v2 transforms on a batch (fast, but they draw
once for all images of the batch, so that all are mirrored together), and torchvision's transforms on PIL images one by
one, as a Dataset of torchvision calls them; also their share of a training step in float32.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from alternate import alternate
from plain_loop import PlainLoop, train_images
from section import Aim, Section, Setup
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

BATCH = 512
REPETITIONS = 7, 25
CALLS = 3  # in a measurement


def changes() -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """Return our transform and torchvision's, by name."""
    from lenet_lab.data.augment import RandomColour, RandomCutout, RandomFlip, RandomShift

    ours = RandomFlip(), RandomShift(2), RandomCutout(8), RandomColour(0.2, 0.2, 0.2)
    flip, shift = v2.RandomHorizontalFlip(), v2.RandomCrop(32, padding=2, padding_mode="reflect")
    square = 8 * 8 / (32 * 32)
    cutout = v2.RandomErasing(p=1, scale=(square, square), ratio=(1, 1), value=128)
    theirs = flip, shift, cutout, v2.ColorJitter(0.2, 0.2, 0.2)
    pairs = dict(zip(("flip", "shift", "cutout", "colour"), zip(ours, theirs, strict=True), strict=True))
    return {
        **pairs,
        "flip, shift": (torch.nn.Sequential(*ours[:2]), v2.Compose(theirs[:2])),
        "all four": (torch.nn.Sequential(*ours), v2.Compose(theirs)),
    }


def timed(do: Callable[[], object]) -> Callable[[], float]:
    """Return a function that measures the milliseconds of a call."""

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            do()
        return 1000 * (time.perf_counter() - start) / CALLS

    return measure


def measure(setup: Setup) -> Section:
    """See the docstring of the file."""
    torch.set_num_threads(1)
    images, labels = train_images(setup)
    batch = torch.from_numpy(images[:BATCH].copy())
    single = [F.to_pil_image(image) for image in batch]
    contenders: dict[str, Callable[[], float]] = {}
    for name, (ours, theirs) in changes().items():
        contenders[f"{name}: lenet_lab"] = timed(lambda ours=ours: ours(batch))
        contenders[f"{name}: v2"] = timed(lambda theirs=theirs: theirs(batch))
        if "cutout" not in name and name != "all four":  # RandomErasing takes no PIL images
            contenders[f"{name}: PIL"] = timed(lambda theirs=theirs: [theirs(image) for image in single])
    loop = PlainLoop(images, labels, BATCH)
    contenders["step"] = lambda: 1000 * loop.seconds_a_step(1)
    found = alternate(contenders, REPETITIONS[setup.full], setup.limit)
    middle = {name: statistics.median(values) for name, values in found.items()}
    rows: list[list[str | float | int | None]] = []
    for name in changes():
        own = middle[f"{name}: lenet_lab"]
        rows.append(
            [
                name,
                own,
                middle[f"{name}: v2"],
                middle.get(f"{name}: PIL"),
                f"{own / middle['step']:.1%}",
            ]
        )
    share = middle["flip, shift: lenet_lab"] / middle["step"]
    return Section(
        title="Augmentation",
        about=f"Milliseconds for {BATCH} uint8 images of 32x32 pixels, and their share of a training step in float32; "
        "one thread. v2 draws once for a whole batch; PIL is one image after the other, as a Dataset does it.",
        columns=[
            "augmentation",
            "lenet_lab, ms",
            "torchvision v2, a batch at once, ms",
            "torchvision on PIL, one by one, ms",
            f"share of a step at batch {BATCH}",
        ],
        rows=rows,
        aims=[Aim(f"flip and shift / step at batch {BATCH} <= 0.05", share, share <= 0.05)],
        raw=found,
    )
