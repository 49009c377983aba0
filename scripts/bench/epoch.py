"""Settings that make an epoch of large batches fast on this machine's CPU, and their effect on the accuracy.

Compared are the same network in a plain loop with each setting alone and all together, and lenet_lab as
`python -m lenet_lab.train` runs it, with speed=exact and speed=auto. Timed are training steps at batch 512, given as
seconds for 50,000 images: after some steps of warm-up in a loop, and in the second epoch of a run. The full form adds
torch.compile, variants of SGD, and the validation accuracy after five epochs (one_cycle, AdamW 0.006, mean and standard
deviation of three seeds).
"""

import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from alternate import alternate
from command import on_images
from plain_loop import PlainLoop, train_images
from scaling import IMAGES, seconds_an_image
from section import Aim, Section, Setup
from table import median_and_range

BATCH = 512
STEPS = 12, 20  # in a measurement, quick and full
REPETITIONS = 5, 15
SEEDS = 1, 2, 3
CHOICES: dict[str, dict[str, bool]] = {
    "float32": {},
    "channels_last": {"channels_last": True},
    "bfloat16": {"bfloat16": True},
    "channels_last, bfloat16": {"channels_last": True, "bfloat16": True},
}
RECIPE = (
    f"data.batch_size={BATCH}",
    "optimizer=adamw",
    "optimizer.lr=0.006",
    "scheduler=one_cycle",
    "trainer.max_epochs=5",
    "trainer.log_every_n_steps=50",
    "logger=none",
    "report=false",
)


def plain(setup: Setup, cores: int) -> dict[str, PlainLoop]:
    """Return the loops to compare, by name."""
    images, labels = train_images(setup)
    loops = {}
    for threads in sorted({1, cores}):
        of = f", {threads} thread{'s' if threads > 1 else ''}"
        for name, choice in CHOICES.items():
            loops[f"plain loop: {name}{of}"] = PlainLoop(images, labels, BATCH, threads=threads, **choice)
    if setup.full:
        everything = CHOICES["channels_last, bfloat16"] | {"threads": cores}
        for mode in ("default", "reduce-overhead", "max-autotune"):
            loops[f"plain loop: all, compiled ({mode})"] = PlainLoop(images, labels, BATCH, compiled=mode, **everything)
        for fused in (True, False):
            loops[f"plain loop: all, SGD{', fused' if fused else ''}"] = PlainLoop(
                images, labels, BATCH, optimizer=torch.optim.SGD, momentum=0.9, fused=fused, **everything
            )
        loops["plain loop: all, AdamW not fused"] = PlainLoop(images, labels, BATCH, fused=False, **everything)
    return loops


def accuracy(setup: Setup, *words: str) -> list[float]:
    """Train with each of `SEEDS`; return the validation accuracies, 0 to 1."""
    from lenet_lab.compose import compose
    from lenet_lab.training import train

    found = []
    for seed in SEEDS:
        folder = tempfile.mkdtemp(dir=setup.scratch)
        config = compose(*on_images(setup.data), *RECIPE, *words, f"seed={seed}", folder=folder)
        found.append(float(train(config)["val/accuracy"]))
    return found


def measure(setup: Setup) -> Section:
    """See the docstring of the file."""
    from lab_engine.base.devices import cores

    loops = plain(setup, cores())
    steps = STEPS[setup.full]
    epoch = IMAGES / BATCH  # steps
    contenders: dict[str, Callable[[], float]] = {
        name: lambda loop=loop: loop.seconds_a_step(steps) * epoch for name, loop in loops.items()
    }
    for speed in ("exact", "auto"):
        words = ("optimizer=adamw", f"speed={speed}")
        contenders[f"lenet_lab: speed={speed}"] = lambda words=words: (
            seconds_an_image(BATCH, steps, *words, setup=setup, epochs=2) * IMAGES
        )
    found = alternate(contenders, REPETITIONS[setup.full], 0.7 * setup.limit)
    right: dict[str, list[float]] = {}
    if setup.full:
        for name, choice in CHOICES.items():
            precision = "bf16-mixed" if choice.get("bfloat16") else "32-true"
            order = "channels_last" if choice.get("channels_last") else "contiguous"
            right[name] = accuracy(setup, f"trainer.precision={precision}", f"speed.memory_format={order}")
        right["bf16-true"] = accuracy(setup, "trainer.precision=bf16-true", "speed.memory_format=channels_last")
    return table(found, right)


def table(found: dict[str, list[float]], right: dict[str, list[float]]) -> Section:
    """Make the table; a row has the accuracy of its choice."""
    first = next(iter(found.values()))
    rows: list[list[str | float | int | None]] = []
    for name, values in found.items():
        ratio = statistics.median(value / other for value, other in zip(values, first, strict=True))
        choice = name.partition(": ")[2].rpartition(", ")[0]
        rows.append([name, *median_and_range(values), ratio, shown(right, choice)])
    if "bf16-true" in right:
        rows.append(
            ["lenet_lab: trainer.precision=bf16-true, channels_last", None, None, None, shown(right, "bf16-true")]
        )
    middle = {name: statistics.median(values) for name, values in found.items()}
    bare = min(value for name, value in middle.items() if name.startswith("plain"))
    gain, own = (
        middle["lenet_lab: speed=exact"] / middle["lenet_lab: speed=auto"],
        middle["lenet_lab: speed=auto"] / bare,
    )
    raw: dict[str, Any] = {"seconds": found, "val/accuracy": right}
    return Section(
        title=f"An epoch at batch {BATCH}",
        about="Seconds for 50,000 images, CPU, AdamW; accuracy of validation after 5 epochs (full form only).",
        columns=["what", "seconds", "min–max", "ratio to the first", "accuracy"],
        rows=rows,
        aims=[
            Aim("lenet_lab speed=auto / the fastest plain loop <= 1.1", own, own <= 1.1),
            Aim("speed=exact / speed=auto >= 1 (auto is no slower)", gain, gain >= 1),
        ],
        raw=raw,
    )


def shown(right: dict[str, list[float]], choice: str) -> str | None:
    """Return mean and standard deviation, in percent."""
    if choice not in right:
        return None
    return f"{statistics.mean(right[choice]):.2%} ± {100 * statistics.stdev(right[choice]):.2f}"
