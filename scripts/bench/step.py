"""The time of a training step at batch 4: LeNet on CIFAR-10, SGD with momentum, on the CPU.

All train the network of 62,006 parameters, with torch's default number of threads (lenet_lab with its own default, one
at this batch size). Each run is a process of its own whose output goes to a pseudo-terminal, so that progress bars are
drawn. Only training steps are timed: not start-up, decoding into memory, validation, test, checkpoints between epochs.
"""

import contextlib
import json
import os
import pty
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import termios
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from alternate import alternate
from command import TAIL, on_images
from plain_loop import train_images
from section import Aim, MeasurementError, Section, Setup
from step_contenders import BATCH, Result
from table import median_and_range

from lab_engine.base.devices import SPIN_COUNT

CONTENDERS = {
    "tutorial": "PyTorch's CIFAR-10 tutorial: image files, transforms for each image, 2 loader workers",
    "usual_lightning": "usual Lightning code: the same loader, Lightning's defaults, two metrics logged in each step",
    "data_loader": "plain PyTorch loop, DataLoader on a TensorDataset in memory, no workers",
    "lightning_floor": "Lightning's floor: barebones Trainer, images in memory, nothing else",
    "bare_loop": "plain PyTorch loop on images in memory",
    "bare_loop_one_thread": "the same with one thread, as lenet_lab",
    "lenet_lab_own_loop": "`lenet_lab` with Lightning's own loop: `lean_loop=false`",
    "lenet_lab": "`lenet_lab` as you run it: logger, metrics, checkpoints, progress bar",
    "lenet_lab_auto": "the same with `speed=auto`: PyTorch's own convolutions",
}
FILES = ("tutorial", "usual_lightning")
OF_LENET_LAB = {"lenet_lab": [], "lenet_lab_auto": ["speed=auto"], "lenet_lab_own_loop": ["lean_loop=false"]}
AIMS = (  # numerator, denominator, comparison, bound; of median times
    ("lenet_lab", "bare_loop", "<=", 1.1),
    ("lenet_lab", "bare_loop_one_thread", "<=", 1.1),  # beside other programs, two threads are many times slower
    ("lenet_lab", "lightning_floor", "<=", 1.05),
    ("tutorial", "lenet_lab", ">=", 1.5),
    ("usual_lightning", "lenet_lab", ">=", 2.5),
)
STEPS, STEPS_IN_FULL = 1000, 3000
REPETITIONS, REPETITIONS_IN_FULL = 3, 6


def measure(setup: Setup) -> Section:
    """Run all contenders in turn."""
    steps = STEPS_IN_FULL if setup.full else STEPS
    decode(setup)
    runs = alternate(
        {name: partial(milliseconds, name, setup, steps) for name in CONTENDERS},
        REPETITIONS_IN_FULL if setup.full else REPETITIONS,
        setup.limit,
    )
    medians = {name: statistics.median(times) for name, times in runs.items()}
    rows: list[Any] = [
        [about, *median_and_range(runs[name]), medians[name] / medians["bare_loop"]]
        for name, about in CONTENDERS.items()
    ]
    return Section(
        "A training step at batch 4",
        f"Milliseconds; runs of {steps:,} steps, {len(runs['lenet_lab'])} of each.",
        ["program", "ms a step", "min–max", "× plain loop"],
        rows,
        [aim(*each, medians) for each in AIMS],
        {"steps": steps, "milliseconds": runs},
    )


def aim(above: str, below: str, comparison: str, bound: float, medians: dict[str, float]) -> Aim:
    """Return one of `AIMS` with its value."""
    ratio = medians[above] / medians[below]
    met = ratio <= bound if comparison == "<=" else ratio >= bound
    return Aim(f"{above} / {below} {comparison} {bound}", ratio, met)


def decode(setup: Setup) -> None:
    """Write images.npy (N, 3, 32, 32) uint8 and labels.npy (N,) int64, as lenet_lab has decoded them."""
    images, labels = train_images(setup)
    np.save(setup.scratch / "images.npy", images)
    np.save(setup.scratch / "labels.npy", labels)


def milliseconds(name: str, setup: Setup, steps: int) -> float:
    """Run the contender once; return the milliseconds of a step."""
    result = train(name, setup, steps)
    return 1000 * result["seconds"] / result["steps"]


def train(name: str, setup: Setup, steps: int) -> Result:
    """Run a contender for this many steps, or fewer if an epoch ends before; see step_contenders.py."""
    if name in OF_LENET_LAB:
        folder = tempfile.mkdtemp(dir=setup.scratch)
        words = ["-m", "lenet_lab.train", *on_images(setup.data), *OF_LENET_LAB[name], f"data.batch_size={BATCH}"]
        words += ["trainer.max_epochs=1", f"trainer.limit_train_batches={steps}", "trainer.accelerator=cpu"]
        words += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1", f"hydra.run.dir={folder}"]
        run_in_terminal(words)
        metrics = json.loads(Path(folder, "metrics.json").read_text())
        return {"seconds": metrics["train/seconds"], "steps": metrics["train/steps"]}
    place = setup.data if name in FILES else setup.scratch
    program = str(Path(__file__).with_name("step_contenders.py"))
    result: Result = json.loads(run_in_terminal([program, name, str(place), str(steps)])[-1])
    return result


def as_in_a_shell() -> dict[str, str]:
    """Return the environment without the variable that lenet_lab has set in this process, as a shell would have it.

    For lenet_lab itself it makes no difference: its commands set the variable again.
    """
    own = ("GOMP_SPINCOUNT", SPIN_COUNT)
    return {name: value for name, value in os.environ.items() if (name, value) != own}


def run_in_terminal(words: list[str], **variables: str) -> list[str]:
    """Run Python with these arguments in a pseudo-terminal of 120 columns and 30 rows; return the lines of its output.

    Args:
        words: the arguments.
        variables: of the environment, beside those of a shell.

    Raises:
        MeasurementError: it failed.
    """
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, 120))
    child = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env={**as_in_a_shell(), "TERM": "xterm-256color", "CUDA_VISIBLE_DEVICES": "", **variables},
        start_new_session=True,
    )
    os.close(slave)
    output = b""
    try:
        with contextlib.suppress(OSError):  # how Linux reports that the other side has closed
            while chunk := os.read(master, 65536):
                output += chunk
        status = child.wait()
    finally:
        os.close(master)
        if child.poll() is None:  # this program was interrupted
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode(errors="replace"))
    lines = [line for line in text.splitlines() if line.strip()]
    if status:
        last = "\n".join(lines[-TAIL:])
        raise MeasurementError(f"python {' '.join(words)} ended with exit status {status}:\n{last}")
    return lines
