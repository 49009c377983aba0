"""A terminal in memory, which bars are drawn on."""

import io

from rich.console import Console


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def terminal(width: int = 80, **variables: str) -> Console:
    """A console of so many columns; its output is `file.getvalue()`."""
    return Console(file=Screen(), width=width, _environ={"TERM": "xterm-256color", **variables}, legacy_windows=False)
