"""Ctrl-C and SIGTERM, taken note of until the run is where it can be cut."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Interrupted(SystemExit):
    """The run has been asked to end, and what it has trained is kept; ends the program as a shell expects it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


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
        """Take the signals; in a thread that is not the main one, where Python cannot, leave them as they are."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}

    def leave(self) -> None:
        """Let the signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked and not self.one_of_several:
            raise Interrupted(number)
        if not self.asked and self.speaks:
            text = f"\n{NAMES[signal.Signals(number)]}: the run is kept and ends; once more ends it at once.\n"
            with suppress(OSError):  # by itself: a print that this has cut into could not be called again
                os.write(2, text.encode())
        self.asked = self.asked or number
