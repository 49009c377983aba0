"""Callbacks that get a run into trouble at a given moment; `overrides` puts them into a command."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lightning.pytorch import Callback


class Signal(Callback):
    """Sends a signal to the process of one device, once it has taken some steps.

    Args:
        number: of the signal.
        rank: of the process.
        steps: in the first epoch.
        minutes_to_wait: for another device, in place of the program's own.
    """

    def __init__(self, number: int, rank: int, steps: int = 20, minutes_to_wait: float = 10.0) -> None:
        from lab_engine.training import build

        self.number, self.rank, self.steps = number, rank, steps
        build.MINUTES_TO_WAIT = minutes_to_wait

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == self.rank and batch_idx == self.steps:
            os.kill(os.getpid(), self.number)


class FullDisk(Callback):
    """Fills the disk that the run folder is on.

    Args:
        hook: of Lightning's, when; of validation, the one after the first epoch.
        epoch: from 0.
        left: bytes that stay free.
    """

    def __init__(self, hook: str, epoch: int = 1, left: int = 0) -> None:
        self.epoch, self.left, self.done = epoch, left, False
        setattr(self, hook, self._fill)

    def _fill(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch >= self.epoch and not self.done:
            self.done = True
            fill(Path(trainer.default_root_dir).parent / "filler", self.left)


def fill(file: Path, left: int = 0) -> None:
    """Let a file take all the room of its disk but for some bytes."""
    room = os.statvfs(file.parent)
    with file.open("wb", buffering=0) as stream:
        os.posix_fallocate(stream.fileno(), 0, max(room.f_bavail * room.f_frsize - left, 1))


class Clock(Callback):
    """Sets the clock in the middle of the first epoch: libfaketime reads from a file how far it is from the right time.

    Args:
        file: of that.
        offset: as libfaketime reads it, such as -1d.
    """

    def __init__(self, file: str, offset: str) -> None:
        self.file, self.offset = Path(file), offset

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 0 and batch_idx == 10 and trainer.is_global_zero:
            before = time.time()
            self.file.write_text(f"{self.offset}\n")
            assert abs(time.time() - before) > 80_000  # or the test would show nothing


class Memory(Callback):
    """Notes now and then how much memory this process has for itself, in `memory.txt` of the run folder: kB, a line."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            status = Path("/proc/self/status").read_text()
            own = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
            with Path(trainer.default_root_dir, "memory.txt").open("a") as stream:
                stream.write(f"{own}\n")


def own_memory(run: Path) -> list[int]:
    """What `Memory` has noted, in bytes."""
    return [int(line) * 1024 for line in (run / "memory.txt").read_text().split()]


def growth(own: Sequence[int]) -> float:
    """By how much there is more of it in the second half than in the first: medians, for single points are noise.

    Of what steps of a thousand images take and give back, hundreds of MB are sometimes the process's and sometimes not.
    """
    half = len(own) // 2
    return median(own[half:]) - median(own[:half])


def overrides(name: str, **arguments: Any) -> list[str]:
    """Words of a command that add one of these."""
    words = {"_target_": f"tests.faults.trouble.{name}", **arguments}
    return [f"+callbacks.trouble.{key}={value}" for key, value in words.items()]
