"""The input and the result of a section of the benchmarks.

A section is a module beside this one with `measure(setup: Setup) -> Section`. It runs in a process of its own, so it
may set threads or start other processes; it prints its progress to stderr, and an exception ends no other section.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class MeasurementError(Exception):
    """A contender failed; the text says which, with its last lines of output."""


@dataclass(frozen=True)
class Setup:
    """The input of a section.

    Attributes:
        data: folder with train/<class>/* and test/<class>/*, images of 32x32 pixels in ten classes.
        scratch: an empty folder, removed when the section is done.
        full: several seeds and more repetitions, for hours.
        seconds: time for the section when not `full`.
        real: whether the images are CIFAR-10; if not, accuracies mean nothing.
    """

    data: Path
    scratch: Path
    full: bool
    seconds: float
    real: bool = True

    @property
    def limit(self) -> float:
        """Time limit for `alternate`: `seconds`, or none with `full`."""
        return math.inf if self.full else self.seconds


@dataclass(frozen=True)
class Aim:
    """A bound that was set in advance; `value` is the measured value, None if it could not be measured."""

    text: str
    value: float | None
    met: bool | None


@dataclass(frozen=True)
class Chart:
    """Lines through points (x, y); `log` applies to both axes."""

    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    log: bool = False


@dataclass(frozen=True)
class Section:
    """The result of a section.

    Attributes:
        title: of the table, a few words.
        about: what is compared and what is timed, a sentence or two.
        columns: names; the first column names the row.
        rows: a cell for each column; floats are shown with three digits, None as an empty cell.
        aims: in the order to show.
        raw: every single measurement, in types that JSON has.
        chart: or None.
    """

    title: str
    about: str
    columns: list[str]
    rows: list[list[str | float | int | None]]
    aims: list[Aim]
    raw: dict[str, Any]
    chart: Chart | None = None
