"""What the tests of faults share: disks of their own, and commands that get into trouble."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _trouble_is_found(tmp_path: Path) -> None:
    """Let commands that are called in the folder of the test import `tests.faults.trouble`."""
    (tmp_path / "tests").symlink_to(Path(__file__).parents[1])


class Disk:
    """A file system in memory with so much room and no more."""

    def __init__(self, folder: Path, megabytes: float) -> None:
        folder.mkdir()
        self.folder = folder
        self._mount("-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k", "tmpfs")

    def _mount(self, *options: str) -> None:
        done = subprocess.run(["mount", *options, str(self.folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no disk can be made here: {done.stderr.strip()}")

    def make_read_only(self) -> None:
        self._mount("-o", "remount,ro")

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[float], Disk]]:
    """Make a disk of so many megabytes (2^20 bytes)."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can make a disk")
    made: list[Disk] = []

    def make(megabytes: float) -> Disk:
        made.append(Disk(tmp_path / f"disk{len(made)}", megabytes))
        return made[-1]

    yield make
    for each in made:
        each.unmount()
