"""Ctrl-C and SIGTERM, taken note of until the run is where it can be cut."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Interrupted(SystemExit):
    """The run has been asked to end; ends the program as a shell expects it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.status = 128 + number
        super().__init__(self.status)


def take(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Set a handler of the signals, and return what they had; one that is ignored, as after `nohup`, stays so.

    In a thread that is not the main one, where Python cannot, they are left as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}


def give_back(handlers: dict[int, Any]) -> None:
    """Restore what the signals did before."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make a signal raise `Interrupted` wherever the program is, but where an `Interruption` listens."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = take(end)
    try:
        yield
    finally:
        give_back(before)


class Interruption:
    """Takes note of the first signal; a second one ends the run at once, with the last checkpoint as it is.

    Args:
        speaks: this process tells the user.
        one_of_several: of a run's processes. A terminal and the process that started it may both send the signal, so
            a second one means nothing.

    Attributes:
        asked: number of the signal that came, or 0.
    """

    def __init__(self, speaks: bool = True, one_of_several: bool = False) -> None:
        self.speaks = speaks
        self.one_of_several = one_of_several
        self.asked = 0
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Handle the signals."""
        if not self._before:
            self._before = take(self._take)

    def leave(self) -> None:
        """Restore what the signals did before."""
        give_back(self._before)
        self._before = {}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked and not self.one_of_several:
            raise Interrupted(number)
        if not self.asked and self.speaks:
            text = f"\n{NAMES[signal.Signals(number)]}: the run is kept and ends; once more ends it at once.\n"
            with suppress(OSError):  # by itself: a print that this has cut into could not be called again
                os.write(2, text.encode())
        self.asked = self.asked or number
