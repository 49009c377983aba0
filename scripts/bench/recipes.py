"""Training time and accuracy of the recipes in conf/experiment, compared with the tutorial script.

Each run is a process of its own. Timed are the training steps; the table also has the seconds of the whole command with
imports and validation. In the quick form the tutorial script runs a part of its two epochs, and its time is scaled up;
in the full form it runs them three times, without a seed. Recipes: `fast` with one seed, in the full form all of them
with five. Accuracies on the test images are for information; no recipe is chosen by them.
"""

import json
import math
import statistics
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import step
from alternate import alternate
from command import train
from plain_loop import train_images
from section import Aim, Section, Setup
from step_contenders import BATCH, TUTORIAL_EPOCHS

TUTORIAL = "tutorial script"
TUTORIAL_RUNS = 3  # in the full form: a run takes minutes
QUICK_STEPS = 2_000  # of the tutorial script
ACCURACY = 0.539  # of the tutorial script, on the JPEG re-encoding of CIFAR-10
RECIPES = ("fast", "equal_time", "best")
SEEDS = 5


def measure(setup: Setup) -> Section:
    """Train with each recipe, the tutorial script in between."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)

    _, labels = train_images(setup)
    whole = TUTORIAL_EPOCHS * math.ceil(len(labels) / BATCH)  # steps of the tutorial script

    def tutorial() -> float:
        done = step.train("tutorial", setup, whole if setup.full else min(QUICK_STEPS, whole))
        runs[TUTORIAL].append(done)
        return done["seconds"] / done["steps"] * whole

    def recipe(name: str) -> float:
        folder = setup.scratch / f"{name}-{len(runs[name])}"
        seed = len(runs[name]) + 1
        done = train(f"experiment={name}", f"seed={seed}", data=setup.data, folder=folder)
        metrics = json.loads(Path(folder, "metrics.json").read_text())
        runs[name].append({"seed": seed, "command": done.seconds} | metrics)
        return float(metrics["train/seconds"])

    recipes = {name: partial(recipe, name) for name in (RECIPES if setup.full else RECIPES[:1])}
    seconds = alternate({TUTORIAL: tutorial} | recipes, TUTORIAL_RUNS if setup.full else 1, setup.limit)
    if setup.full:
        for name, times in alternate(recipes, SEEDS - TUTORIAL_RUNS).items():
            seconds[name] += times
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = medians[TUTORIAL]
    rows: list[list[str | float | int | None]] = []
    for name, median in medians.items():
        accuracies = [run["test/accuracy"] for run in runs[name] if "test/accuracy" in run]
        commands = [run["command"] for run in runs[name] if "command" in run]
        label = f"`experiment={name}`" if name in RECIPES else name
        rows.append(
            [label, median, median / base, statistics.median(commands) if commands else None, *spread(accuracies)]
        )
    aims = []
    if setup.real:
        ratio, accuracy = medians["fast"] / base, statistics.mean(run["test/accuracy"] for run in runs["fast"])
        aims.append(Aim("fast: training time of the tutorial script <= 1/15", ratio, ratio <= 1 / 15))
        aims.append(Aim(f"fast: test accuracy >= {ACCURACY}", accuracy, accuracy >= ACCURACY))
    for name, least in (("equal_time", 0.71), ("best", 0.76)):
        if setup.real and (found := [run["test/accuracy"] for run in runs[name]]):
            mean = statistics.mean(found)
            aims.append(Aim(f"{name}: mean test accuracy > {least}", mean, mean > least))
    return Section(
        title="Recipes",
        about="Seconds of training steps, the same beside the tutorial script's, seconds of the whole command, and "
        "accuracy on the test images: mean and standard deviation over runs, each with another seed.",
        columns=["recipe", "training, s", "× tutorial", "command, s", "test accuracy", "sd", "runs"],
        rows=rows,
        aims=aims,
        raw={"seconds": seconds, "runs": dict(runs)},
    )


def spread(accuracies: list[float]) -> tuple[float | None, float | None, int | None]:
    """Return mean, standard deviation and number of runs."""
    if not accuracies:
        return None, None, None
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else None
    return statistics.mean(accuracies), deviation, len(accuracies)
