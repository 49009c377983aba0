"""An ablation of the recipe `equal_time`: the recipe with one ingredient changed.

Five seeds of each variant in the full form, one in the quick form. Accuracies are those of validation images, because
test images must not choose a recipe. Two runs at a time, with one thread each.
"""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from command import on_images, train
from images import data_module
from section import Section, Setup

SEEDS = 5
AT_ONCE = 2
RECIPE = "the recipe"
VARIANTS = {
    RECIPE: (),
    "AdamW in place of Muon": ("optimizer=adamw", "optimizer.lr=0.005", "optimizer.weight_decay=0.02"),
    "without shifts and colour": ("augment=flip",),
    "without label smoothing": ("loss.label_smoothing=0",),
    "half the learning rate, and constant": (
        *("scheduler=constant", "~scheduler.pct_start", "~scheduler.cycle_momentum"),
        "optimizer.lr=0.01",
    ),
}
SINGLE_VIEW = "one view of each image, not ten"


def measure(setup: Setup) -> Section:
    """Train all variants."""
    jobs = [(name, seed) for seed in range(1, SEEDS + 1 if setup.full else 2) for name in VARIANTS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        accuracies = dict(zip(jobs, pool.map(lambda job: accuracy(*job, setup), jobs), strict=True))
    found = {name: [accuracies[job] for job in jobs if job[0] == name] for name in VARIANTS}
    seeds = [seed for name, seed in jobs if name == RECIPE]
    found[SINGLE_VIEW] = [accuracy_of_one_view(folder_of(RECIPE, seed, setup), setup) for seed in seeds]
    return Section(
        title="Ablation",
        about=f"Validation accuracy in % of the recipe equal_time, and what changes when one ingredient does: mean of "
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)}, standard deviation, mean of the differences.",
        columns=["variant", "accuracy, %", "sd", "difference"],
        rows=[row(name, own, found[RECIPE]) for name, own in found.items()],
        aims=[],
        raw={"val/accuracy": found},
    )


def row(name: str, own: list[float], of_recipe: list[float]) -> list[str | float | int | None]:
    """Return the row of a variant."""
    difference = statistics.mean(100 * (one - other) for one, other in zip(own, of_recipe, strict=True))
    deviation = 100 * statistics.stdev(own) if len(own) > 1 else None
    return [name, 100 * statistics.mean(own), deviation, difference]


def folder_of(name: str, seed: int, setup: Setup) -> Path:
    """Return the run folder of a variant and seed."""
    return setup.scratch / f"{list(VARIANTS).index(name)}-{seed}"


def accuracy(name: str, seed: int, setup: Setup) -> float:
    """Train, and return the validation accuracy of the best checkpoint, 0 to 1."""
    folder = folder_of(name, seed, setup)
    words = ("experiment=equal_time", "threads=1", "report=false", "logger=none", *VARIANTS[name], f"seed={seed}")
    train(*words, data=setup.data, folder=folder)
    return float(json.loads((folder / "metrics.json").read_text())["val/accuracy"])


def accuracy_of_one_view(folder: Path, setup: Setup) -> float:
    """Return the accuracy of the same checkpoint with one view of each validation image, in the run's precision."""
    import torch

    from lab_engine.artifacts.checkpoint import read_metadata
    from lenet_lab.api import load

    data = data_module("experiment=equal_time", *on_images(setup.data))
    data.setup()
    checkpoint = folder / "checkpoints" / "best.ckpt"
    network = load(checkpoint)
    short = (
        read_metadata(checkpoint).precision == "bf16-mixed"
    )  # the recipe chooses it where the processor is fast with it
    images = data.prepare(torch.from_numpy(data.train.images[data.validation_rows]), training=False)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=short):
        chosen = network(images).argmax(1).numpy()
    return float((chosen == data.train.labels[data.validation_rows]).mean())
