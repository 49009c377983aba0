"""Ctrl-C and SIGTERM, noted until the run reaches a point where it can stop."""

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
    """A signal has asked the program to end; its exit status is 128 + number, as shells expect.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.status = 128 + number
        super().__init__(self.status)


def set_handlers(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Set a handler of the signals, and return the previous ones.

    A signal that is ignored, as after `nohup`, stays ignored. Outside the main thread, where Python can set no
    handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise `Interrupted` at a signal, wherever the program is, unless an `Interruption` listens."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = set_handlers(end)
    try:
        yield
    finally:
        _restore(before)


class Interruption:
    """Notes the first signal, for the run to stop where its state can be saved; a second one ends the run at once.

    Args:
        speaks: this process tells the user.
        one_of_several: the run has several processes. The terminal and the process that started this one may both
            send the signal, so a second one is ignored.

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
            self._before = set_handlers(self._note)

    def leave(self) -> None:
        """Restore the previous handlers."""
        _restore(self._before)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and self.one_of_several:
            return
        if self.speaks:
            # on a terminal, erase the line: it holds ^C, and perhaps a bar
            start = "\r\x1b[2K" if os.isatty(2) and os.environ.get("TERM") not in (None, "dumb") else "\n"
            what = "stopped at once" if self.asked else "the run is stopping; a second signal stops it at once"
            with suppress(OSError):  # print is not reentrant, and the signal may have come inside one
                os.write(2, f"{start}{NAMES[signal.Signals(number)]}: {what}.\n".encode())
        if self.asked:
            raise Interrupted(number)
        self.asked = number
