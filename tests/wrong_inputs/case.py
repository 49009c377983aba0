"""A wrong input, and what all of them have in common."""

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import forked
from tests.conftest import environment_in

LONGEST = 400  # characters of a line of a message
MAY_STAY = re.compile(r"(cache|data)|(cache|data)/[^/]+\.lock|cache/folder-[0-9a-f]+-v1(/.*)?")
"""What a refused command may leave: the empty file of a lock, and images that were all decoded before it was."""


@dataclass(frozen=True)
class Case:
    """A command line, and the message that its user gets.

    Attributes:
        words: as typed after `python -m lenet_lab.`, in a folder of its own.
        says: after "error: ", a line or two; … stands for anything within a line, HERE for the folder.
        files: makes files in that folder before.
    """

    words: str
    says: str
    files: Callable[[Path], object] | None = None

    def __str__(self) -> str:
        return f"{self.words} {getattr(self.files, '__name__', '')}".strip()


def read(file: Path) -> list[Case]:
    """Read a table: "$ " and the words, then what is said, then an empty line; lines with # are for the reader."""
    text = "".join(f"{line}\n" for line in file.read_text().splitlines() if not line.startswith("#"))
    blocks = [block.strip() for block in text.split("\n\n") if block.strip()]
    return [Case(*block.removeprefix("$ ").split("\n", 1)) for block in blocks]


def refuse(case: Case, folder: Path) -> None:
    """Give the command, and see to it that it is refused as every wrong input is."""
    if case.files:
        case.files(folder)
    before = names(folder)
    module, *words = shlex.split(case.words.replace("HERE", str(folder)))
    done = forked.run(
        [sys.executable, "-m", f"lenet_lab.{module}", *words], cwd=folder, env=environment_in(folder), timeout=280
    )
    said = done.stderr.rstrip("\n")
    assert done.returncode == 2, said
    assert re.fullmatch(pattern(f"error: {case.says}", folder), said), said
    assert len(said.splitlines()) <= 2
    assert max(map(len, said.splitlines())) <= LONGEST
    assert [name for name in sorted(names(folder) - before) if not MAY_STAY.fullmatch(name)] == []


def names(folder: Path) -> set[str]:
    """All that is below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def pattern(text: str, folder: Path) -> str:
    return ".*".join(re.escape(part) for part in text.replace("HERE", str(folder)).split("…"))
