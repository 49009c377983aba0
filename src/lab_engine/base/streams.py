"""Standard streams that can be written to in any encoding, also where they are closed or full."""

import codecs
import os
import sys
import unicodedata

INSTEAD = {"─": "-", "━": "=", "│": "|", "−": "-", "×": "x", "·": ".", "…": "~", "→": ">", "▏": "|", "█": "#"}
"""Plain characters for those that tables and bars are drawn with, of the same width."""
PLAIN = "lab_engine.plain"
"""Name of the handler of characters that a stream's encoding does not have."""


def prepare_streams() -> None:
    """Open closed standard streams to nowhere, and make all of them show plain characters for those they cannot."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file would get the number, and what is printed
        os.set_inheritable(number, True)
    os.close(number)
    codecs.register_error(PLAIN, _plain)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):  # else it is a notebook's, or a test's
            stream.reconfigure(errors=PLAIN)


def drop_failed_stdout() -> bool:
    """Return whether stdout cannot be written to, as on a full disk; if so, all later output is discarded."""
    try:
        os.write(sys.stdout.fileno(), b"\n")  # tried, because what has failed may have left nothing to be flushed
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(INSTEAD.get(each) or _letter(each) for each in text), error.end


def _letter(character: str) -> str:
    """Return the letter without its accent, or a question mark."""
    found = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return found if len(found) == 1 else "?"
