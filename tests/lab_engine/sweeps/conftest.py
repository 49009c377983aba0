"""What the tests of sweeps share: sweeps as a user runs them."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab_engine.sweeps.job import Record, read_record, state_of
from tests import forked
from tests.conftest import environment_in

TINY = ("data=digits", "data.batch_size=64", "optimizer.lr=0.05", "trainer.max_epochs=1", "logger=none")
"""A job of less than a second, once its process is there."""


@dataclass
class Sweep:
    """How a sweep ended, and what it left."""

    status: int
    out: str
    err: str
    folder: Path

    @property
    def jobs(self) -> dict[str, Record]:
        """By the name of the run folder."""
        files = sorted(self.folder.rglob("job.json"))
        return {str(file.parent.relative_to(self.folder)): read_record(file.parent) for file in files}

    @property
    def states(self) -> dict[str, str]:
        return {name: state_of(self.folder / name, record) for name, record in self.jobs.items()}

    def metrics(self, job: str = "0") -> dict[str, Any]:
        """Without times."""
        read = json.loads((self.folder / job / "metrics.json").read_text())
        return {key: value for key, value in read.items() if key != "train/seconds"}


def sweep_command(where: Path, *overrides: str, module: str = "train") -> tuple[list[str], dict[str, str], Path]:
    """Words and environment of a sweep in the folder `where/sweep`, or as `hydra.sweep.dir=` says."""
    chosen = [word.split("=", 1)[1] for word in overrides if word.startswith("hydra.sweep.dir=")]
    folder = where / (chosen[0] if chosen else "sweep")
    words = list(overrides) if chosen else [*overrides, f"hydra.sweep.dir={folder}"]
    return [sys.executable, "-m", f"lenet_lab.{module}", "-m", *words], environment_in(where), folder


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def run_sweep(where: Path, *overrides: str, module: str = "train", **environment: str) -> Sweep:
    words, inherited, folder = sweep_command(where, *overrides, module=module)
    done = forked.run(words, cwd=where, env={**inherited, **environment}, timeout=280)
    return Sweep(done.returncode, done.stdout, done.stderr, folder)


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """`run_sweep` in an empty folder of the test's own."""
    return lambda *overrides, **rest: run_sweep(tmp_path, *overrides, **rest)
