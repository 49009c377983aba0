"""What the four sections about scaling share: a run that is measured by its training steps alone."""

import json
import re
import tempfile
from pathlib import Path

from command import on_images, train
from section import Setup

IMAGES = 50_000
"""Of an epoch, as CIFAR-10 has them; the seconds of all tables are for so many."""
TRAINED = 47_500
"""Of these, the ones that are not validated on."""
LITTLE = ("trainer.max_epochs=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "report=false")
"""What is not timed anyway is kept short."""
MILLISECONDS = re.compile(r" steps, [\d.]+ s, ([\d.]+) ms each$", re.MULTILINE)
"""Of a step, in the line of an epoch in train.log."""


def steps_for(batch: int, images: int, full: bool) -> int:
    """Steps to measure: an epoch of whole batches; in the quick form at most a thousand, fewer as they get longer."""
    epoch = max(images // batch, 1)
    return epoch if full else min(epoch, max(4000 // (4 + batch), TRAINED // max(batch, 512), 10))


def seconds_an_image(
    batch: int, steps: int, *words: str, setup: Setup, config_dir: Path | None = None, epochs: int = 1
) -> float:
    """Train in this process, with everything that is done by default; the last of the epochs is timed."""
    from lenet_lab.compose import compose
    from lenet_lab.training import train

    folder = tempfile.mkdtemp(dir=setup.scratch)
    own = (f"trainer.max_epochs={epochs}", f"data.batch_size={batch}", f"trainer.limit_train_batches={steps}")
    data = () if config_dir else on_images(setup.data)
    train(compose(*data, *LITTLE, *own, *words, config_dir=config_dir, folder=folder))
    *_, milliseconds = MILLISECONDS.findall(Path(folder, "train.log").read_text())
    return float(milliseconds) / (1000 * batch)


def seconds_an_image_on(devices: int, batch: int, steps: int, *words: str, setup: Setup) -> float:
    """Train with `batch` images on each of these devices; where there are several, by the command."""
    if devices == 1:
        return seconds_an_image(batch, steps, *words, setup=setup)
    folder = Path(tempfile.mkdtemp(dir=setup.scratch), "run")
    own = (f"data.batch_size={batch}", f"trainer.devices={devices}", f"trainer.limit_train_batches={steps}")
    train(*LITTLE, *own, *words, data=setup.data, folder=folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    return float(metrics["train/seconds"]) / (metrics["train/steps"] * batch * devices)
