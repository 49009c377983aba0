"""The program's commands, called as a user calls them."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from section import MeasurementError

TAIL = 8  # lines that are shown of a command that failed


@dataclass(frozen=True)
class Done:
    """Wall-clock seconds, processor seconds (of all cores together), and output of a command."""

    seconds: float
    processor: float
    output: str


def call(words: Sequence[str], cwd: Path | None = None) -> Done:
    """Run Python with these arguments.

    Raises:
        MeasurementError: it failed; the text is the command and its last lines of output.
    """
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    seconds, after = time.perf_counter() - start, os.times()
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        lines = "\n".join(output.splitlines()[-TAIL:])
        raise MeasurementError(f"python {' '.join(words)} ended with exit status {done.returncode}:\n{lines}")
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return Done(seconds, children, output)


def train(*words: str, data: Path, folder: Path) -> Done:
    """Train on image files; the run folder (of a sweep: with `-m` among the words) is `folder`."""
    where = f"hydra.{'sweep' if '-m' in words else 'run'}.dir={folder}"
    return call(["-m", "lenet_lab.train", *words, *on_images(data), where])


def on_images(data: Path) -> list[str]:
    """Settings of a run on the image files below `data`."""
    from lab_engine.base.quoting import quoted

    return ["data=image_folder", f"data.root={quoted(str(data))}"]
