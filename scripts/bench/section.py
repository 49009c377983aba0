"""What a section of the benchmarks is given, and what it gives back.

A section is a module beside this one with `measure(setup: Setup) -> Section`. It runs in a process of its own, so it
may set threads or start others; what it prints to stderr is its progress, and an exception ends no other section.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class MeasurementError(Exception):
    """Something that was to be measured did not run; the text says what, with its last lines."""


@dataclass(frozen=True)
class Setup:
    """What there is to measure with.

    Attributes:
        data: folder with train/<class>/* and test/<class>/*, images of 32x32 pixels in ten classes.
        scratch: an empty folder, removed when the section is done.
        full: several seeds and more repetitions; nobody waits.
        seconds: that the section may take when not `full`, all told.
        real: whether the images are CIFAR-10; if not, accuracies say nothing.
    """

    data: Path
    scratch: Path
    full: bool
    seconds: float
    real: bool = True

    @property
    def limit(self) -> float:
        """What `alternate` is to keep to: `seconds`, or with `full` any time."""
        return math.inf if self.full else self.seconds


@dataclass(frozen=True)
class Aim:
    """A bound that was set beforehand; `value` is what it bounds, None where it could not be measured."""

    text: str
    value: float | None
    met: bool | None


@dataclass(frozen=True)
class Chart:
    """Lines through points (x, y); `log` is of both axes."""

    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    log: bool = False


@dataclass(frozen=True)
class Section:
    """What was found.

    Attributes:
        title: of the table, a few words.
        about: what is compared and what is timed, a sentence or two.
        columns: names; the first is what the row is about.
        rows: a cell for each column; floats are shown with three digits, None as nothing.
        aims: in the order to show.
        raw: every single measurement, as JSON can hold it.
        chart: drawn where there is one.
    """

    title: str
    about: str
    columns: list[str]
    rows: list[list[str | float | int | None]]
    aims: list[Aim]
    raw: dict[str, Any]
    chart: Chart | None = None
