"""The code that the four sections about scaling share: a run of which only the training steps are timed."""

import json
import re
import tempfile
from pathlib import Path

from command import on_images, train
from section import Setup

IMAGES = 50_000
"""Train images of CIFAR-10; all tables give the seconds for this many."""
TRAINED = 47_500
"""Of these, without the validation images."""
LITTLE = ("trainer.max_epochs=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "report=false")
"""Shortens the parts of a run that are not timed."""
MILLISECONDS = re.compile(r" steps, [\d.]+ s, ([\d.]+) ms each$", re.MULTILINE)
"""Of a step, in the line of an epoch in train.log."""


def steps_for(batch: int, images: int, full: bool) -> int:
    """Return the steps to measure: an epoch; in the quick form at most a thousand, fewer for larger batches."""
    epoch = max(images // batch, 1)
    return epoch if full else min(epoch, max(4000 // (4 + batch), TRAINED // max(batch, 512), 10))


def seconds_an_image(
    batch: int, steps: int, *words: str, setup: Setup, config_dir: Path | None = None, epochs: int = 1
) -> float:
    """Train in this process with the defaults; return the seconds per image in the last epoch."""
    from lenet_lab.compose import compose
    from lenet_lab.training import train

    folder = tempfile.mkdtemp(dir=setup.scratch)
    own = (f"trainer.max_epochs={epochs}", f"data.batch_size={batch}", f"trainer.limit_train_batches={steps}")
    data = () if config_dir else on_images(setup.data)
    train(compose(*data, *LITTLE, *own, *words, config_dir=config_dir, folder=folder))
    *_, milliseconds = MILLISECONDS.findall(Path(folder, "train.log").read_text())
    return float(milliseconds) / (1000 * batch)


def seconds_an_image_on(devices: int, batch: int, steps: int, *words: str, setup: Setup) -> float:
    """Train with `batch` images on each device, with several devices as a command; return the seconds per image."""
    if devices == 1:
        return seconds_an_image(batch, steps, *words, setup=setup)
    folder = Path(tempfile.mkdtemp(dir=setup.scratch), "run")
    own = (f"data.batch_size={batch}", f"trainer.devices={devices}", f"trainer.limit_train_batches={steps}")
    train(*LITTLE, *own, *words, data=setup.data, folder=folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    return float(metrics["train/seconds"]) / (metrics["train/steps"] * batch * devices)
