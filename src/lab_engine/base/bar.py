"""A progress bar for the terminal: how much is done, how fast, and the time that is left."""

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Self

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lab_engine.base.wording import shortened

SECONDS_BETWEEN_UPDATES = 0.3  # a bar that is done before is never drawn
WIDTHS = 8, 40  # characters of the bar: with fewer, some facts are left out

_consoles: list[Console] = []  # the one that bars are drawn on, if any


def draw_bars_on(console: Console | None) -> None:
    """Set where bars are drawn from now on; nowhere, unless it is a terminal that can overwrite a line."""
    _consoles.clear()
    if console is not None and console.is_interactive and console.file.isatty():
        _consoles.append(console)


class Bar:
    """A bar, from its first update that is due to `close`, or to the end of a `with` block.

    It is drawn by the calls of `update`, without a thread, which a fork would copy in any state. What is printed
    meanwhile by `lab_engine.training.terminal`, by logging, or to stdout and stderr appears above it.

    Args:
        label: what is done.
        total: how many there are; None: nobody knows.
        unit: the noun for one of them, such as "image"; "B" for bytes; empty: no speed is shown.
        done: how many were done before.
        facts: returns more to show, the most important first; called for each drawing.

    Attributes:
        due: when to draw next, as `time.perf_counter()` counts; infinity without a terminal.
    """

    def __init__(
        self,
        label: str,
        total: float | None,
        unit: str = "",
        done: int = 0,
        facts: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.label, self.total, self.unit, self.facts = label, total, unit, facts
        self.done = self._before = done
        self._started = time.perf_counter()
        self._live: Live | None = None
        self.due = self._started + SECONDS_BETWEEN_UPDATES if _consoles else float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, more: int = 1) -> None:
        """Count more of them."""
        self.update(self.done + more)

    def update(self, done: int) -> None:
        """Set how many are done, and draw if it is due."""
        self.done = done
        if time.perf_counter() >= self.due:
            self._draw()

    def _draw(self) -> None:
        try:
            if self._live is None:
                self._live = Live(
                    console=_consoles[0],
                    auto_refresh=False,
                    transient=True,
                    redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
                    get_renderable=self.render,
                )
                self._live.start()
            self._live.refresh()
            self.due = time.perf_counter() + SECONDS_BETWEEN_UPDATES
        except OSError:  # the terminal is gone
            self.due = float("inf")

    def close(self) -> None:
        """Remove the bar."""
        self.due = float("inf")
        if self._live is not None:
            with suppress(OSError):  # as above
                self._live.stop()
            self._live = None

    def render(self) -> Table:
        """Return the bar as one line, with as many facts as the terminal has room for."""
        console, total = _consoles[0], self.total
        width = console.width - 1  # a full line would wrap on some terminals
        seconds = max(time.perf_counter() - self._started, 1e-9)
        rate = (self.done - self._before) / seconds
        parts = [decimal(self.done) if self.unit == "B" else f"{self.done:,}"]
        if total:
            parts = [f"{min(self.done / total, 1):.0%}"]
            parts += [f"{timedelta(seconds=round(max(total - self.done, 0) / rate))} left"] if rate else []
        parts += self.facts()
        if self.unit:
            parts += [f"{decimal(int(rate))}/s" if self.unit == "B" else f"{rate:,.0f} {self.unit}s/s"]
        label = shortened(self.label, max(width - WIDTHS[0] - 6, 8))
        while len(parts) > 1 and len(f"{label} {'  '.join(parts)}") + WIDTHS[0] + 1 > width:
            parts.pop()
        line = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        cells: list[Any] = [Text(label, no_wrap=True)]
        if total:
            left = width - len(f"{label}  {'  '.join(parts)}")
            cells.append(ProgressBar(total, min(self.done, total), width=max(min(left, WIDTHS[1]), 1)))
        line.add_row(*cells, Text("  ".join(parts), no_wrap=True))
        return line
