"""Processes of this machine, as Linux lists them in /proc."""

import os
from contextlib import suppress
from pathlib import Path


def command_lines_with(text: str) -> list[str]:
    """Command lines that have it, of other processes that live."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        if file.parent.name != str(os.getpid()):
            with suppress(OSError):  # it has just ended
                lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if text in line]
