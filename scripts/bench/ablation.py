"""What each ingredient of the recipe `equal_time` adds: the recipe with one of them left out or put back, five seeds.

Measured on validation images, which alone may choose. Two runs go at once, a thread each, and the recipe is given fewer
epochs than it has, so that five seeds of all take minutes; EPOCHS says how many.
"""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor

from command import train
from section import Section, Setup

EPOCHS = 10
SEEDS = 5
AT_ONCE = 2
VARIANTS = {
    "the recipe": (),
    "AdamW in place of Muon": ("optimizer=adamw", "optimizer.lr=0.005", "optimizer.weight_decay=0.02"),
    "SGD with momentum in place of Muon": ("optimizer=sgd", "optimizer.lr=0.05", "optimizer.weight_decay=5e-4"),
    "without weight decay": ("optimizer.weight_decay=0",),
    "constant learning rate": ("scheduler=constant", "optimizer.lr=0.01"),
    "without label smoothing": ("loss.label_smoothing=0",),
    "without shifts and colour": ("augment=[flip]",),
    "without augmentation": ("augment=none",),
    "batch 64 in place of 256": ("data.batch_size=64", "optimizer.lr=0.01"),
    "each image judged once": ("test_time=none",),
}


def measure(setup: Setup) -> Section:
    """Train all variants."""
    seeds = range(1, SEEDS + 1 if setup.full else 2)
    common = ("experiment=equal_time", f"trainer.max_epochs={EPOCHS}", "threads=1", "report=false", "logger=none")

    def accuracy(job: tuple[str, int]) -> float:
        name, seed = job
        folder = setup.scratch / f"{list(VARIANTS).index(name)}-{seed}"
        train(*common, *VARIANTS[name], f"seed={seed}", data=setup.data, folder=folder)
        return float(json.loads((folder / "metrics.json").read_text())["val/accuracy"])

    jobs = [(name, seed) for seed in seeds for name in VARIANTS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(jobs, pool.map(accuracy, jobs), strict=True))
    rows: list[list[str | float | int | None]] = []
    of_recipe = [found["the recipe", seed] for seed in seeds]
    for name in VARIANTS:
        own = [found[name, seed] for seed in seeds]
        differences = [one - other for one, other in zip(own, of_recipe, strict=True)]
        deviation = statistics.stdev(own) if len(own) > 1 else None
        rows.append(
            [name, 100 * statistics.mean(own), deviation and 100 * deviation, 100 * statistics.mean(differences)]
        )
    return Section(
        title="Ablation",
        about=f"Validation accuracy in % of the recipe equal_time with {EPOCHS} epochs, and what it loses when one "
        f"ingredient is changed; mean of {len(seeds)} seeds and their standard deviation.",
        columns=["variant", "accuracy, %", "sd", "difference"],
        rows=rows,
        aims=[],
        raw={"val/accuracy": {name: [found[name, seed] for seed in seeds] for name in VARIANTS}},
    )
